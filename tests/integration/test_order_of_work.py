"""A run of several sessions that is ended half-way: what is finished is finished, and the rest follows."""

import csv
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "run.py"
SESSIONS = 8


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_stripped, random_model):
    folder = tmp_path_factory.mktemp("order")
    write_stripped(folder / "raw", {f"{n:03d}": ("001", f"site0{n % 2 + 1}") for n in range(1, SESSIONS + 1)})
    random_model(folder / "model", 0)
    return folder


def start(study):
    fixed = [
        "--skip-bids-validation",
        "-w",
        study / "work",
        "--nprocs",
        "2",
        "--omp-nthreads",
        "1",
        "--sloppy",
    ]
    fixed += ["--template", "MNI152NLin2009aSym", "--skull-strip", "skip", "--preproc-only", "--profile"]
    command = [sys.executable, RUN, study / "raw", study / "out", "participant", *fixed]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def pages(study):
    return list((study / "out").glob("sub-*.html"))


def statuses(study):
    last = max((study / "out" / "logs").glob("*_summary.tsv"), key=lambda path: path.stat().st_mtime_ns)
    with last.open(newline="") as stream:
        return [row["status"] for row in csv.DictReader(stream, delimiter="\t")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_is_ended_half_way_leaves_half_of_the_sessions(study):
    run = start(study)
    while len(pages(study)) < SESSIONS // 2:
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    sent = time.monotonic()
    said = run.communicate(timeout=60)[1]
    assert time.monotonic() - sent < 30
    assert run.returncode == 130, said
    assert "Traceback" not in said
    finished = len(pages(study))
    assert SESSIONS // 2 <= finished <= SESSIONS // 2 + 2
    assert sum(status in {"done", "flagged"} for status in statuses(study)) == finished
    assert statuses(study).count("unfinished") == SESSIONS - finished
    again = start(study)
    said = again.communicate()[1]
    assert again.returncode == 0, said
    assert f"{SESSIONS} sessions: {finished} done before, {SESSIONS - finished} to do" in said
    assert re.search(r"finished \(1 of \d sessions, about \d+ (s|min) left\)", said)
    assert statuses(study).count("skipped") == finished
    assert len(list((study / "out" / "logs").glob("*_profile.svg"))) == 2
