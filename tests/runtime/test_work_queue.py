"""Work shared by real processes: nothing is done twice, and what a killed process held is done by another."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from bids_mmh.runtime.work_queue import claim_each

# Does each piece by writing who did it; "stuck" is claimed and never finished.
WORKER = """
import sys, time
from pathlib import Path
from bids_mmh.runtime.work_queue import claim_each

folder, first, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
pieces = [str(i) for i in range(12)]
print("ready", flush=True)
for piece, claim in claim_each(
    pieces,
    lock=lambda piece: folder / f"{piece}.lock",
    is_done=lambda piece: (folder / f"{piece}.done").exists(),
    first=first,
    poll=0.05,
):
    with claim, (folder / "log").open("a") as log:
        log.write(f"{piece}\\n")
        log.flush()
        time.sleep(seconds)
        (folder / f"{piece}.done").touch()
"""


def start(folder, first, seconds):
    command = [sys.executable, "-c", WORKER, str(folder), str(first), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def log_of(folder):
    path = folder / "log"
    return path.read_text().split() if path.exists() else []


def test_two_processes_share_the_work_and_do_nothing_twice(tmp_path):
    workers = [start(tmp_path, first, 0.02) for first in (0, 0)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    assert Counter(log_of(tmp_path)) == {str(i): 1 for i in range(12)}
    assert not list(tmp_path.glob("*.lock"))


def test_what_a_killed_process_held_is_done_by_another(tmp_path):
    killed = start(tmp_path, 0, 600)
    deadline = time.monotonic() + 60
    while not log_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    other = start(tmp_path, 0, 0)
    while len(list(tmp_path.glob("*.done"))) < 11 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert other.poll() is None  # it waits for the piece that is held
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(timeout=60)
    assert other.wait(timeout=60) == 0
    assert Counter(log_of(tmp_path)) == {str(i): 1 + (i == 0) for i in range(12)}


def test_every_piece_is_tried_once_even_if_it_stays_undone(tmp_path):
    tried = []
    for piece, claim in claim_each("abc", lock=lambda p: tmp_path / p, is_done=lambda _: False, first=1):
        with claim:
            tried.append(piece)
    assert tried == ["b", "c", "a"]


@pytest.mark.parametrize("pieces", [(), ("a",)])
def test_what_is_done_is_not_claimed(tmp_path, pieces):
    assert not list(claim_each(pieces, lock=lambda p: tmp_path / p, is_done=lambda _: True))
