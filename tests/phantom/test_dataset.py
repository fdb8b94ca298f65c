import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scipy.ndimage import affine_transform

from bids_mmh.errors import CannotCreateError, UsageError
from bids_mmh.phantom import dataset as dataset_module
from bids_mmh.phantom.dataset import make_phantom
from bids_mmh.phantom.imaging.relaxation import Tissue

VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))


def load(path):
    return nib.load(path), np.asanyarray(nib.load(path).dataobj)


def truth_of(scan, name):
    root = next(folder.parent for folder in scan.parents if folder.name.startswith("sub-"))
    base = scan.name.rsplit("_", 1)[0]
    return root / "derivatives" / "truth" / scan.parent.relative_to(root) / f"{base}_{name}"


def scans(root, suffix="T1w"):
    return sorted(root.glob(f"sub-*/**/*_{suffix}.nii.gz"))


def test_travelling_subject_has_a_session_per_site_and_the_other_one(phantom):
    names = [scan.name for scan in scans(phantom)]
    assert names == [
        "sub-001_ses-site01_T1w.nii.gz",
        "sub-001_ses-site02_T1w.nii.gz",
        "sub-002_ses-site01_T1w.nii.gz",
    ]
    assert len(scans(phantom, "T2w")) == 3
    assert (phantom / "sub-001" / "sub-001_sessions.tsv").read_text().split("\n")[2] == "ses-site02\tsite02"
    rows = [line.split("\t") for line in (phantom / "participants.tsv").read_text().splitlines()]
    assert rows[0] == ["participant_id", "age", "sex", "site"]
    assert [row[3] for row in rows[1:]] == ["n/a", "site01"]


@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
@pytest.mark.parametrize("part", [".", "derivatives/truth"])
def test_validator_finds_no_error(phantom, part):
    result = subprocess.run([VALIDATOR, phantom / part, "--json"], capture_output=True, check=False)
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_sidecar_names_the_site_and_its_timing_in_seconds(phantom):
    sidecar = json.loads((phantom / "sub-001/ses-site01/anat/sub-001_ses-site01_T1w.json").read_text())
    assert sidecar["InstitutionName"] == "site01"
    assert 0.001 < sidecar["EchoTime"] < 0.01
    assert 0.5 < sidecar["InversionTime"] < 1.5


def test_white_matter_is_bright_on_t1w_and_fluid_on_t2w(phantom):
    for scan in scans(phantom) + scans(phantom, "T2w"):
        suffix = "T1w" if "T1w" in scan.name else "T2w"
        values = load(scan)[1] / load(truth_of(scan, f"desc-receivefield_{suffix}.nii.gz"))[1]
        labels = load(truth_of(scan, f"space-{suffix}_dseg.nii.gz"))[1]
        white, fluid, bone = (
            np.median(values[labels == t]) for t in (Tissue.WHITE_MATTER, Tissue.CSF, Tissue.BONE)
        )
        assert bone < white
        assert white > fluid if suffix == "T1w" else white < fluid


def test_reference_image_explains_the_scan(phantom):
    scan = phantom / "sub-001/ses-site01/anat/sub-001_ses-site01_T1w.nii.gz"
    mask = load(truth_of(scan, "space-T1w_desc-brain_mask.nii.gz"))[1] > 0
    values, field, reference = (
        path[1][mask]
        for path in (
            load(scan),
            load(truth_of(scan, "desc-receivefield_T1w.nii.gz")),
            load(truth_of(scan, "desc-reference_T1w.nii.gz")),
        )
    )
    assert np.corrcoef(values / field, reference)[0, 1] > 0.9


def brain_in_template(scan):
    """Bring the brain mask of a scan to the template's grid (4 mm) with the ITK transform."""
    image, mask = load(truth_of(scan, "space-T1w_desc-brain_mask.nii.gz"))
    name = "from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.txt"
    affine = SimpleITK.ReadTransform(str(truth_of(scan, name)))
    grid = np.array([[4.0, 0, 0, -90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
    corners = np.vstack([np.zeros(3), np.eye(3)])
    flip = np.array([-1, -1, 1])
    moved = [flip * affine.TransformPoint((flip * (grid @ [*c, 1])[:3]).tolist()) for c in corners]
    template_to_scan = np.eye(4)
    template_to_scan[:3, :3] = (np.array(moved[1:]) - moved[0]).T
    template_to_scan[:3, 3] = moved[0]
    matrix = np.linalg.inv(image.affine) @ template_to_scan
    return affine_transform(mask.astype(float), matrix, output_shape=(46, 56, 40), order=1) > 0.5


def test_the_true_transforms_align_one_subject_at_two_sites_and_the_template(phantom, average_head):
    first, second = (brain_in_template(scan) for scan in scans(phantom)[:2])
    dice = 2 * (first & second).sum() / (first.sum() + second.sum())
    assert dice > 0.96
    target = average_head.brain[10:194:4, 1:225:4, 46:206:4]
    assert 2 * (first & target).sum() / (first.sum() + target.sum()) > 0.9


def test_subjects_and_sites_do_not_depend_on_how_many_there_are(phantom, tmp_path):
    small = make_phantom(
        tmp_path / "small",
        subjects=1,
        sites=1,
        travelling=1,
        seed=3,
        resolution=4,
        sequences=["T2w"],
        truth=False,
    )
    assert not (small / "derivatives").exists()
    assert scans(small) == []
    name = "sub-001/ses-site01/anat/sub-001_ses-site01_T2w.nii.gz"
    np.testing.assert_array_equal(load(small / name)[1], load(phantom / name)[1])


def test_left_and_right_differ(phantom):
    labels = brain_in_template(scans(phantom)[2])
    assert 2 * (labels & labels[::-1]).sum() / (2 * labels.sum()) < 0.99


def test_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(CannotCreateError, match="not empty"):
        make_phantom(tmp_path, subjects=1, sites=1)


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset_module, "_write_subjects", full)
    with pytest.raises(CannotCreateError, match="No space left"):
        make_phantom(tmp_path / "out", subjects=1, sites=1)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"subjects": 0},
        {"sites": 0},
        {"travelling": 3},
        {"travelling": 1, "visits": 1},
        {"travelling": 1, "visits": 3},
        {"resolution": 0.1},
        {"sequences": ["FLAIR"]},
        {"seed": -1},
    ],
)
def test_impossible_plans_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError):
        make_phantom(tmp_path / "out", **{"subjects": 2, "sites": 2, **wrong})
    assert not (tmp_path / "out").exists()
