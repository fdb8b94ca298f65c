"""Locks that keep two runs from working on one session at once."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bids_mmh.app.jobs import SessionJob
from bids_mmh.errors import TryAgainError


def lock_sessions(jobs: Sequence[SessionJob], stack: ExitStack) -> tuple[list[SessionJob], list[SessionJob]]:
    """Lock the outputs and the work folder of each session until ``stack`` is closed.

    Args:
        jobs: the sessions.
        stack: what the locks are tied to.

    Returns:
        The sessions that are locked now, and those that another run holds.
    """
    ours, busy = [], []
    for job in jobs:
        try:
            with ExitStack() as held:
                for path in _lock_files(job):
                    held.enter_context(file_lock(path))
                stack.push(held.pop_all())
            ours.append(job)
        except TryAgainError:
            busy.append(job)
    return ours, busy


def _lock_files(job: SessionJob) -> tuple[Path, Path]:
    name = f".{job.node_name}.lock"
    return job.settings.output_dir / "logs" / name, job.settings.work_dir / name


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends; its file is removed afterwards.

    Args:
        path: file to lock; made with its folder.

    Raises:
        TryAgainError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TryAgainError(f"Another run holds {path}: run again when it has ended.") from None
        except OSError:  # a file system without locks: better unprotected than not at all
            yield
            return
        # Between opening and locking, its last owner may have removed the file.
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise TryAgainError(f"Another run has just released {path}: run again.")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
