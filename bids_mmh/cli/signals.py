"""How the program ends when a scheduler asks it to."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from bids_mmh.errors import ExitCode

GRACE_SECONDS = 5.0
"""Schedulers send SIGTERM and, often ten seconds later, SIGKILL."""


@contextmanager
def ending_on_sigterm(grace: float = GRACE_SECONDS) -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C, and for certain after a while.

    The main thread gets a ``KeyboardInterrupt``. It may be in a library for minutes before it sees that, and
    then wait for its worker processes; therefore another thread ends the process when the time is over. Files
    get their final names only when they are complete, so another run goes on from there.

    Args:
        grace: seconds from the signal to the end, whatever the program is doing.

    Yields:
        Nothing. Before and after the block the signal does what it did.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=_end_after, args=(reader, grace), daemon=True)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGTERM, previous)
        os.close(writer)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


def _end_after(reader: int, grace: float) -> None:
    """Wait for SIGTERM, which Python writes here the moment it comes, and then end the process."""
    while received := os.read(reader, 1):
        if received[0] == signal.SIGTERM:
            time.sleep(grace)
            sys.stderr.write("bids-mmh: stopped by SIGTERM: run again to go on from here.\n")
            sys.stderr.flush()
            os._exit(ExitCode.INTERRUPTED)
    os.close(reader)
