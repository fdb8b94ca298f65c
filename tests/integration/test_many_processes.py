"""Several processes on one output folder, as a job array starts them: nothing corrupt, nothing lost."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from time import sleep

import nibabel as nib
import numpy as np
import pytest

RUN = Path(__file__).parents[2] / "run.py"


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_stripped):
    """Two people with one stripped T1w each, so that a process is done soon."""
    folder = tmp_path_factory.mktemp("many")
    write_stripped(folder / "raw", {"001": ("002", "site01"), "002": ("001", "site02")})
    return folder


def start(study, level, *options):
    fixed = ["--skip-bids-validation", "-w", study / "work", "--clean-workdir", "--nprocs", "1", "--sloppy"]
    fixed += [
        "--template",
        "MNI152NLin2009aSym",
        "--skull-strip",
        "skip",
        "--preproc-only",
        "--no-evaluation",
    ]
    command = [sys.executable, RUN, study / "raw", study / "out", level, *fixed, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def unreadable(folder, seen):
    """What is in an output folder under its final name, is not as it was ``seen``, and cannot be read."""
    found = []
    for path in folder.rglob("*"):
        try:
            state = path.stat()
            if path.name.startswith(".") or not path.is_file() or seen.get(path) == state.st_mtime_ns:
                continue
            seen[path] = state.st_mtime_ns
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.name.endswith(".nii.gz"):
                np.asanyarray(nib.load(path).dataobj)
            elif path.suffix == ".html":
                assert "</html>" in path.read_text()
        except FileNotFoundError:  # gone since it was listed: a temporary file
            continue
        except Exception as error:
            found.append(f"{path}: {error!r}")
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_people_one_of_them_twice_and_the_group_at_the_same_time(study):
    participants = [
        start(study, "participant", "--participant-label", label) for label in ("001", "002", "001")
    ]
    groups, seen = [], {}
    while any(process.poll() is None for process in participants):
        assert unreadable(study / "out", seen) == []
        if (study / "out").exists() and all(group.poll() is not None for group in groups) and len(groups) < 2:
            groups.append(start(study, "group"))
        sleep(0.3)
    said = [process.communicate()[1] for process in (*participants, *groups)]
    codes = [process.returncode for process in participants]
    assert codes[1] == 0, said[1]
    # The two on one person: either one left it to the other, or came when the other was done.
    assert sorted([codes[0], codes[2]]) in ([0, 0], [0, 75]), said
    if 75 in codes:
        assert "sub-001: another run is working on it: run again when that has ended." in "".join(said)
    assert {group.returncode for group in groups} <= {0, 66}  # 66: nothing there yet
    assert "Traceback" not in "".join(said)
    check_the_end(study)


def check_the_end(study):
    out = study / "out"
    assert unreadable(out, {}) == []
    assert [path for path in out.rglob(".*") if path.name != ".bidsignore"] == []
    assert len(list(out.glob("sub-*/anat/*desc-preproc_T1w.nii.gz"))) == 4
    logs = list((out / "logs").glob("*.log"))
    assert len(logs) == len(list((out / "logs").glob("*.toml"))) >= 3
    # All is done: another run finds nothing to do, and the group has both people.
    again = start(study, "participant")
    assert "2 sessions: 2 done before, 0 to do" in again.communicate()[1]
    assert start(study, "group").wait() == 0
    with (out / "group_T1w_table.tsv").open(newline="") as stream:
        assert [row["participant_id"] for row in csv.DictReader(stream, delimiter="\t")] == [
            "sub-001",
            "sub-002",
        ]
    assert not (study / "work").exists()
