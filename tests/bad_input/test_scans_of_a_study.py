"""A study with something wrong in nearly every session: each is named or flagged, and the rest is done."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.phantom.dataset import make_phantom


def scan(root: Path, subject: str, sequence: str) -> Path:
    return root / f"sub-{subject}" / "anat" / f"sub-{subject}_{sequence}.nii.gz"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study")
    raw = root / "raw"
    make_phantom(raw, subjects=5, sites=1, resolution=4.0, truth=False)
    (raw / "participants.tsv").unlink()
    _as_nifti2_in_metres(scan(raw, "001", "T1w"))
    _swap(scan(raw, "002", "T1w"), scan(raw, "002", "T2w"))
    _crop(scan(raw, "003", "T1w"))
    _make_noise(scan(raw, "004", "T1w"))
    scan(raw, "004", "T2w").unlink()
    scan(raw, "005", "T1w").unlink()
    scan(raw, "005", "T1w").symlink_to("../../.git/annex/objects/xx")
    scan(raw, "005", "T2w").unlink()
    (raw / "sub-003" / "anat" / "sub-003_T2w.json").write_text("{")
    return root


def _as_nifti2_in_metres(path: Path) -> None:
    image = nib.load(path)
    affine = np.diag([0.001, 0.001, 0.001, 1]) @ image.affine
    changed = nib.Nifti2Image(np.asanyarray(image.dataobj), affine)
    changed.header.set_xyzt_units("meter")
    nib.save(changed, path)


def _swap(first: Path, second: Path) -> None:
    held = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(held)


def _crop(path: Path) -> None:
    """Cut the top of the head off, and so a part of the brain."""
    image = nib.as_closest_canonical(nib.load(path))
    height = nib.affines.apply_affine(np.linalg.inv(image.affine), [0, 0, 45])[2]
    nib.save(image.slicer[:, :, : int(height)], path)


def _make_noise(path: Path) -> None:
    image = nib.load(path)
    noise = np.random.default_rng(0).normal(100, 10, image.shape)
    nib.save(nib.Nifti1Image(noise.astype(np.float32), image.affine), path)


@pytest.mark.slow
def test_every_fault_is_named_or_flagged_and_the_rest_is_done(study, run):
    out = study / "out"
    outcome = run(study / "raw", out)
    assert outcome.code in {65, 66}
    noise, link, sidecar = (
        next(line for line in outcome.errors if subject in line)
        for subject in ("sub-004", "sub-005", "sub-003")
    )
    assert "may show no head" in noise
    assert "datalad get sub-005_T1w.nii.gz" in link
    assert "sub-003_T2w.json is not valid JSON" in sidecar
    assert len(outcome.errors) == 3
    assert "3 of 5 sessions done" in outcome.text
    assert outcome.text.count(": finished (") == 3

    def warnings(subject: str, sequence: str) -> str:
        (found,) = out.glob(f"sub-{subject}/anat/*space-*_desc-preproc_{sequence}.json")
        return " ".join(json.loads(found.read_text())["QualityWarnings"])

    assert warnings("001", "T1w") == warnings("001", "T2w") == ""
    native = nib.load(next(out.glob("sub-001/anat/sub-001_desc-preproc_T1w.nii.gz")))
    assert type(native) is nib.Nifti1Image
    in_metres = nib.load(scan(study / "raw", "001", "T1w")).header.get_zooms()
    np.testing.assert_allclose(native.header.get_zooms(), np.multiply(1000, in_metres), rtol=1e-4)
    assert "a T2w named T1w" in warnings("002", "T1w")
    assert "a T1w named T2w" in warnings("002", "T2w")
    assert "% of the brain" in warnings("003", "T1w")
    _open_with_pybids(out)


def _open_with_pybids(out: Path) -> None:
    """Native images: into those of a template, pybids merges the native sidecars (see docs/outputs.md)."""
    from bids import BIDSLayout

    for derivatives in (False, True):
        layout = BIDSLayout(out, validate=False, is_derivative=derivatives)
        images = [x for x in layout.get(suffix="T1w", extension=".nii.gz") if "_space-" not in x.filename]
        assert images
        for image in images:
            beside = Path(image.path.replace(".nii.gz", ".json"))
            assert image.get_metadata() == json.loads(beside.read_text())
