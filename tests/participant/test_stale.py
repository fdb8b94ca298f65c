import json

import pytest

from bids_mmh import __version__
from bids_mmh.bids.session import Scan
from bids_mmh.derivatives.jobs import ScanJob
from bids_mmh.derivatives.models import ModelReference
from bids_mmh.method.config import PRESETS
from bids_mmh.participant.stale import remove_stale
from bids_mmh.settings import Settings


@pytest.fixture
def job(tmp_path):
    def make(model=True, **options):
        raw = tmp_path / "raw" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.touch()
        scan = Scan(raw, "T1w", {"subject": "1"}, "alpha")
        folders = {
            "bids_dir": tmp_path / "raw",
            "output_dir": tmp_path / "out",
            "work_dir": tmp_path / "work",
        }
        settings = Settings(**folders, analysis_level="participant", **options)
        reference = ModelReference("m", tmp_path, PRESETS["tiny"], "d" * 64) if model else None
        return ScanJob(scan, scan, "MNI152NLin2009aSym", 4.0, settings, reference)

    return make


def write_all(job):
    for path in job.expected():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.with_suffix("").with_suffix(".json").write_text("{}")
    fields = {
        "GeneratedBy": {"Version": __version__},
        "ConfigurationHash": job.preprocessing_hash,
        "Site": "alpha",
        "RawFingerprint": job.raw_fingerprint,
    }
    job.sidecar("mni_preproc").write_text(json.dumps(fields))


def names(job):
    return {path.name.split("_", 1)[1] for path in job.path("mni_preproc").parent.glob("*desc*.nii.gz")}


MNI = "space-MNI152NLin2009aSym_res-4_desc-"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"skull_strip": "force"}, "native and template, all written anew"),
        ({"skull_strip": "force", "output_spaces": ("MNI",)}, {MNI + "preproc_T1w", MNI + "harmonized_T1w"}),
        ({"skull_strip": "force", "model": False}, {MNI + "preproc_T1w", "desc-preproc_T1w"}),
        ({"output_spaces": ("MNI",)}, "the same preprocessing as before"),
        ({"model": False}, "the same preprocessing as before"),
    ],
)
def test_images_of_other_options_that_stay_unwritten_go(job, options, left):
    first = job()
    write_all(first)
    before = names(first)
    second = job(**options)
    remove_stale(second)
    masks = {MNI + "brain_mask", *({"desc-brain_mask"} if "native" in second.wanted_spaces() else ())}
    expected = before if isinstance(left, str) else {f"{name}.nii.gz" for name in left | masks}
    assert names(first) == expected


def test_another_raw_file_makes_what_is_not_written_again_stale(job):
    write_all(job())
    second = job(output_spaces=("MNI",))
    second.scan.path.write_text("other")
    remove_stale(second)
    assert not second.path("native_preproc").exists()
    assert not second.sidecar("native_preproc").exists()
