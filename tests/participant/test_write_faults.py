"""What is left of a scan whose writing was stopped at any point, and that the next run makes it whole."""

import errno
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.bids.session import Scan
from bids_mmh.derivatives.jobs import ScanJob
from bids_mmh.derivatives.models import ModelReference
from bids_mmh.derivatives.sidecar import SCHEMA_VERSION
from bids_mmh.method.config import PRESETS
from bids_mmh.participant.outputs import write_scan
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.transforms import from_matrix, save_transform
from bids_mmh.settings import Settings

GRID = model_grid(4.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A raw scan and the work files of its preprocessing and its harmonization."""
    root = tmp_path_factory.mktemp("faults")
    raw = root / "raw" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    raw.parent.mkdir(parents=True)
    mask = np.zeros(GRID.shape, np.uint8)
    mask[10:20, 10:20, 10:20] = 1
    values = np.random.default_rng(0).uniform(50, 100, mask.shape).astype(np.float32) * mask
    arrays = {"preproc": values, "mask": mask, "harmonized": np.where(mask > 0, (values - 75) / 30, -1)}
    for name, array in arrays.items():
        image = nib.Nifti1Image(array.astype(np.uint8 if name == "mask" else np.float32), GRID.affine)
        nib.save(image, root / f"{name}.nii.gz")
    shutil.copyfile(root / "preproc.nii.gz", raw)
    save_transform(from_matrix(np.eye(4)), root / "xfm.txt")
    (root / "qc.json").write_text(json.dumps({"warnings": [], "seconds": {}}))
    return root


@pytest.fixture(scope="module")
def write(root):
    """Write the scan's derivatives into a folder."""
    work = {
        f"{space}_{name}": root / f"{name}.nii.gz"
        for space in ("mni", "native")
        for name in ("preproc", "mask")
    }
    work |= {"harmonized": root / "harmonized.nii.gz", "to_mni_xfm": root / "xfm.txt"}
    work |= {"qc_json": root / "qc.json", "device": "cpu", "precision": "32-true", "seconds": 1.5}
    return lambda out: write_scan(job_of(root, out), work)


def job_of(root: Path, out: Path) -> ScanJob:
    scan = Scan(root / "raw" / "sub-1" / "anat" / "sub-1_T1w.nii.gz", "T1w", {"subject": "1"}, "alpha")
    settings = Settings(
        bids_dir=root / "raw", output_dir=out, analysis_level="participant", work_dir=root / "work"
    )
    model = ModelReference("m", root, PRESETS["tiny"], "d" * 64)
    return ScanJob(scan, scan, "MNI152NLin2009aSym", 4.0, settings, model)


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(root, write):
    """What an unbroken run writes."""
    write(root / "whole")
    return content(root / "whole")


def killed_at(rename: int, write, out: Path) -> bool:
    """Write in a child process that is killed at one of its renames, just before or just after it."""
    child = os.fork()
    if child == 0:
        move, count = Path.replace, 0

        def replace_or_die(self, target):
            nonlocal count
            count += 1
            if 2 * count == rename:
                os.kill(os.getpid(), signal.SIGKILL)
            done = move(self, target)
            if 2 * count + 1 == rename:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        Path.replace = replace_or_die
        write(out)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


RENAMES = range(2, 32)  # just before and just after each of the fifteen files gets its name


@pytest.mark.parametrize(
    "renames",
    [pytest.param((3, 16, 31), id="some"), pytest.param(RENAMES, id="all", marks=pytest.mark.slow)],
)
def test_killed_at_any_rename_nothing_is_half_written_and_the_next_run_makes_it_whole(
    root, write, whole, tmp_path, renames
):
    assert len(RENAMES) == 2 * len(whole)
    for rename in renames:
        out = tmp_path / str(rename)
        assert killed_at(rename, write, out)
        found = content(out)
        temporary = {name for name in found if Path(name).name.startswith(".")}
        assert {name: found[name] for name in found.keys() - temporary}.items() <= whole.items()
        assert job_of(root, out).is_done() == (found.keys() - temporary == whole.keys())
        write(out)
        assert content(out) == whole


def test_a_file_that_cannot_grow_leaves_nothing_half_written(root, write, whole, tmp_path):
    """The limit on the size of files stands for a full disk: writing fails half-way, without a warning."""
    largest = max(map(len, whole.values()))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (200, largest // 2, largest - 1):
        out = tmp_path / str(limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError) as caught:
                write(out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.errno == errno.EFBIG
        assert content(out).items() <= whole.items()
        assert not job_of(root, out).is_done()
        write(out)
        assert content(out) == whole


@pytest.mark.parametrize("kilobytes", [8, 24, 40])
def test_a_disk_that_is_full(root, write, whole, tmp_path, small_disk, kilobytes):
    disk = tmp_path / "disk"
    with small_disk(disk, kilobytes) as grow:
        with pytest.raises(OSError) as caught:
            write(disk / "out")
        assert caught.value.errno == errno.ENOSPC
        assert content(disk / "out").items() <= whole.items()
        assert not job_of(root, disk / "out").is_done()
        grow("4m")
        write(disk / "out")
        assert content(disk / "out") == whole


def test_a_clock_that_jumps_changes_nothing(root, write, tmp_path):
    out = tmp_path / "out"
    write(out)
    job = job_of(root, out)
    for year in (1971, 2037):
        for path in [job.scan.path, *out.rglob("*")]:
            os.utime(path, (0, (year - 1970) * 31_557_600))
        assert job.is_done()


def test_two_versions_on_one_output_each_write_it_anew(root, write, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        for module in ("derivatives.jobs", "participant.outputs"):
            patch.setattr(f"bids_mmh.{module}.__version__", "99.0")
        write(out)
        assert job_of(root, out).is_done()
    assert not job_of(root, out).is_done()
    write(out)
    assert content(out) == whole


def test_sidecars_of_a_later_version_are_written_anew(root, write, whole, tmp_path):
    out = tmp_path / "out"
    write(out)
    sidecar = job_of(root, out).sidecar("mni_harmonized")
    later = json.loads(sidecar.read_text()) | {"SchemaVersion": SCHEMA_VERSION + 1}
    sidecar.write_text(json.dumps(later))
    assert not job_of(root, out).is_done()
    write(out)
    assert content(out) == whole
