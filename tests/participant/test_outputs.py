import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.bids.session import Scan
from bids_mmh.derivatives.jobs import ScanJob
from bids_mmh.derivatives.models import ModelReference
from bids_mmh.errors import BadDataError
from bids_mmh.method.config import PRESETS, TargetConfig
from bids_mmh.participant.outputs import write_scan
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.settings import Settings

GRID = model_grid(4.0)


@pytest.fixture
def job(tmp_path):
    """A T1w harmonized by a Stage I model, template space only."""
    raw = tmp_path / "raw" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    scan = Scan(raw, "T1w", {"subject": "1"}, "alpha")
    settings = Settings(
        bids_dir=tmp_path / "raw",
        output_dir=tmp_path / "out",
        analysis_level="participant",
        output_spaces=("MNI",),
        work_dir=tmp_path / "work",
    )
    model = ModelReference("m", tmp_path, PRESETS["tiny"], "d" * 64)
    return ScanJob(scan, scan, "MNI152NLin2009aSym", 4.0, settings, model)


@pytest.fixture
def work(tmp_path):
    """What preprocessing and the model left of it."""
    mask = np.zeros(GRID.shape, np.uint8)
    mask[10:20, 10:20, 10:20] = 1
    values = np.random.default_rng(0).uniform(50, 100, mask.shape).astype(np.float32) * mask
    scaled = np.where(mask > 0, (values - 75) / 30, -1).astype(np.float32)
    files = {"mni_preproc": values, "mni_mask": mask, "harmonized": scaled}
    for name, array in files.items():
        nib.save(nib.Nifti1Image(array, GRID.affine), tmp_path / f"{name}.nii.gz")
    (tmp_path / "xfm.txt").write_text("transform")
    (tmp_path / "qc.json").write_text(json.dumps({"warnings": [], "seconds": {}}))
    return {name: tmp_path / f"{name}.nii.gz" for name in files} | {
        "to_mni_xfm": tmp_path / "xfm.txt",
        "qc_json": tmp_path / "qc.json",
        "device": "cpu",
        "precision": "32-true",
        "seconds": 1.5,
    }


def sidecar_of(job):
    return json.loads(job.sidecar("mni_harmonized").read_text())


def test_sidecar_of_a_stage_1_model(job, work):
    write_scan(job, work)
    fields = sidecar_of(job)
    assert fields["Model"] == {"Name": "m", "SHA256": "d" * 64, "Target": "unified", "Encoder": None}
    assert (fields["Device"], fields["Precision"]) == ("cpu", "32-true")
    assert "DeviceFallback" not in fields
    image = nib.load(job.path("mni_harmonized")).get_fdata()
    scaled = nib.load(work["harmonized"]).get_fdata()
    inside = nib.load(work["mni_mask"]).get_fdata() > 0
    scaling = fields["IntensityScaling"]
    np.testing.assert_allclose(
        image[inside] * scaling["Slope"] + scaling["Intercept"], scaled[inside], atol=1e-5
    )
    assert (image[~inside] == 0).all()


def test_a_planted_change_is_mapped_flagged_and_where_it_is(job, work):
    harmonized = nib.load(work["harmonized"])
    changed = np.asarray(harmonized.dataobj).copy()
    changed[14:16, 14:16, 14:16] += 1.5
    nib.save(nib.Nifti1Image(changed, GRID.affine), work["harmonized"])
    write_scan(job, work)
    image = nib.load(job.path("mni_change"))
    assert image.get_data_dtype() == np.int8
    change = image.get_fdata()
    assert np.abs(change - np.round(change, 2)).max() < 1e-6
    assert change[14:16, 14:16, 14:16].min() > 2 * np.abs(change[11:13, 11:13, 11:13]).max()
    record = sidecar_of(job)
    assert record["AnatomicalChange"] == pytest.approx(np.abs(change).max(), abs=0.05)
    assert "Harmonization changed more than contrast" in record["QualityWarnings"][-1]
    assert json.loads(job.sidecar("mni_change").read_text())["AnatomicalChange"] == record["AnatomicalChange"]


def change_harmonized(work, change):
    image = nib.load(work["harmonized"])
    scaled = image.get_fdata()
    change(scaled)
    nib.save(nib.Nifti1Image(scaled.astype(np.float32), image.affine), work["harmonized"])


def test_sidecar_says_how_much_of_the_brain_is_clipped_and_flags_it(job, work):
    write_scan(job, work)
    assert sidecar_of(job)["ClippedFraction"] == pytest.approx(
        2 / 1000
    )  # the darkest and the brightest voxel
    assert sidecar_of(job)["QualityWarnings"] == []

    def darken(scaled):
        scaled[10:20, 10:20, 10] = -1.7  # one of ten slices of the brain

    change_harmonized(work, darken)
    write_scan(job, work)
    fields = sidecar_of(job)
    assert fields["ClippedFraction"] == pytest.approx(0.101)
    assert f"10.1% of the brain's voxels in {job.path('mni_harmonized').name}" in " ".join(
        fields["QualityWarnings"]
    )


def test_a_result_whose_anatomy_is_another_is_flagged(job, work):
    def shuffle(scaled):
        inside = scaled[10:20, 10:20, 10:20]
        inside[:] = np.random.default_rng(1).permutation(inside.ravel()).reshape(inside.shape)

    change_harmonized(work, shuffle)
    write_scan(job, work)
    assert "did not keep the anatomy" in " ".join(sidecar_of(job)["QualityWarnings"])


def test_a_result_that_is_not_finite_gets_no_name_and_is_not_done(job, work):
    change_harmonized(work, lambda scaled: scaled.__setitem__((12, 12, 12), np.nan))
    with pytest.raises(BadDataError, match="1 of its values are not finite"):
        write_scan(job, work)
    assert not job.path("mni_harmonized").exists()
    assert not job.is_done()


def test_a_result_of_the_fallback_is_marked(job, work):
    write_scan(job, work | {"fallback": "the memory of cuda:0 did not suffice"})
    assert sidecar_of(job)["DeviceFallback"] == "the memory of cuda:0 did not suffice"


def test_sidecar_of_a_stage_2_model_names_target_and_encoder(job, work):
    target = TargetConfig("siteA", "embedded", "e" * 64, "attention")
    assert job.model is not None
    write_scan(
        replace(job, model=replace(job.model, config=replace(PRESETS["tiny"], target=target))),
        work | {"precision": "bf16-mixed"},
    )
    fields = sidecar_of(job)
    assert fields["Model"]["Target"] == "siteA"
    assert fields["Model"]["Encoder"] == {"Name": "embedded", "SHA256": "e" * 64}
    assert fields["Precision"] == "bf16-mixed"


def test_a_scan_is_done_until_its_raw_file_site_settings_or_the_version_change(job, work, monkeypatch):
    job.scan.path.parent.mkdir(parents=True)
    job.scan.path.write_bytes(b"as acquired")
    assert not job.is_done()
    write_scan(job, work)
    assert job.is_done()
    assert not replace(job, scan=replace(job.scan, site="beta")).is_done()
    assert not replace(job, settings=job.settings.model_copy(update={"sloppy": True})).is_done()
    assert replace(job, settings=job.settings.model_copy(update={"random_seed": 1})).is_done()
    with monkeypatch.context() as patch:
        patch.setattr("bids_mmh.derivatives.jobs.__version__", "99.0")
        assert not job.is_done()
    job.scan.path.write_bytes(b"as anonymized")
    assert not job.is_done()
    job.scan.path.write_bytes(b"as acquired")  # a copy with another time is the same file
    assert job.is_done()
