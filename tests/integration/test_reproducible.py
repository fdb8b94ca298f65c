"""The same input and seed give the same bytes, however the work is shared out and whatever interrupts it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from bids_mmh.errors import ExitCode

RUN = Path(__file__).parents[2] / "run.py"
SUBJECTS = ("001", "002")


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_stripped, random_model) -> Path:
    """Two subjects with one stripped T1w each, and a model of 4 mm."""
    root = tmp_path_factory.mktemp("reproducible")
    write_stripped(root / "raw", {label: (label, "site01") for label in SUBJECTS})
    random_model(root / "model", 0)
    return root


def start(study: Path, name: str, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, RUN, study / "raw", study / name, "participant", "-w", study / f"work_{name}"]
    fixed = [
        "--skip-bids-validation",
        "--template",
        "MNI152NLin2009aSym",
        "--skull-strip",
        "skip",
        "--sloppy",
    ]
    fixed += ["--omp-nthreads", "1", "--device", "cpu", "--model", study / "model", "--sequences", "T1w"]
    return subprocess.Popen(
        [*map(str, command), *map(str, fixed), *options], stderr=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]") -> str:
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return said


def content(out: Path) -> dict[str, bytes]:
    """Every file of the results by its name; the logs, which have times, are no results."""
    files = [path for path in out.rglob("*") if path.is_file() and "logs" not in path.relative_to(out).parts]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@pytest.fixture(scope="module")
def whole(study) -> dict[str, bytes]:
    """What one process makes of both subjects in one run."""
    finish(start(study, "whole", "--nprocs", "1"))
    found = content(study / "whole")
    assert sum(name.endswith(".nii.gz") for name in found) == 2 * 7
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_number_of_processes_and_order_of_subjects_change_no_byte(study, whole):
    for label in reversed(SUBJECTS):
        finish(start(study, "other", "--nprocs", "2", "--participant-label", label))
    assert differing(content(study / "other"), whole) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_stopped_at_several_steps_it_ends_as_if_unbroken(study, whole, kind):
    """Stopped ever later, by what has been logged; a scheduler's signal ends the run within ten seconds."""
    name = f"broken{kind.value}"
    for step in ("load", "bias", "finish", "harmonize", "write"):
        process = start(study, name, "--nprocs", "2")
        while process.poll() is None and not _begun(study / name, step):
            sleep(0.05)
        sent = monotonic()
        process.send_signal(kind)
        process.communicate()
        assert monotonic() - sent < 10
        assert process.returncode in {0, -signal.SIGKILL, 130}
        _complete(study / name, whole)
    finish(start(study, name, "--nprocs", "2"))
    assert differing(content(study / name), whole) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "share"), [("", 0.1), ("", 0.5), ("", 0.9), ("work_", 0.2), ("work_", 0.8)])
def test_a_full_disk_is_said_in_a_sentence_and_the_next_run_ends_as_if_unbroken(
    study, whole, small_disk, kind, share
):
    """Output or work folder on a disk that holds so many times what all results take."""
    name = f"full{kind}{share}"
    folder = study / (kind + name)
    with small_disk(folder, int(share * sum(map(len, whole.values())) / 1024)) as grow:
        process = start(study, name, "--nprocs", "2")
        said = process.communicate()[1]
        assert process.returncode == ExitCode.IO, said
        assert "is full" in said
        assert "Traceback" not in said
        assert "please report" not in said
        _complete(study / name, whole, but=".html")  # the page of a session says what failed
        grow("64m")
        finish(start(study, name, "--nprocs", "2"))
        assert differing(content(study / name), whole) == []


def _begun(out: Path, step: str) -> bool:
    logs = sorted((out / "logs").glob("*.log"), key=os.path.getmtime)
    return bool(logs) and f'Executing "{step}' in logs[-1].read_text()


def _complete(out: Path, whole: dict[str, bytes], but: str | None = None) -> None:
    """What has its final name has its final content, ``but`` files of a suffix."""
    for name, data in content(out).items():
        if Path(name).suffix == but:
            continue
        if not Path(name).name.startswith(".") or name == ".bidsignore":
            assert data == whole[name], name
