"""Signals of a scheduler, in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from bids_mmh.cli.signals import ending_on_sigterm

PROGRAM = """
import sys, time
from bids_mmh.cli.signals import ending_on_sigterm

with ending_on_sigterm(grace=1.0):
    print("ready", flush=True)
    try:
        {work}
    except KeyboardInterrupt:
        print("cleaned up", flush=True)
        sys.exit(130)
"""
# Nothing in Python runs between two looks at signals while a library computes; it may let other threads run.
BUSY = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 100_000_000)"
WORK = {"Python": ("time.sleep(60)", True), "a library": (BUSY, False)}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("work", "tidy"), WORK.values(), ids=WORK)
def test_sigterm_ends_the_program_soon_whatever_it_is_doing(work, tidy):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(work=work)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate()
    assert time.monotonic() - start < 6
    assert process.returncode == 130
    assert ("cleaned up" in said) == tidy
    assert ("run again to go on from here" in errors) != tidy


def test_the_signal_does_afterwards_what_it_did_before():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ending_on_sigterm(grace=86_400):  # or it would end the tests
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before
