"""Locks that keep two runs from working on one session at once."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bids_mmh.derivatives.jobs import SessionJob
from bids_mmh.errors import TryAgainError


@contextmanager
def session_lock(job: SessionJob) -> Iterator[None]:
    """Hold the outputs and the work folder of a session.

    Raises:
        TryAgainError: another run works on it.
    """
    with ExitStack() as held:
        for path in _lock_files(job):
            held.enter_context(file_lock(path))
        yield


def _lock_files(job: SessionJob) -> tuple[Path, Path]:
    name = f".{job.node_name}.lock"
    return job.settings.output_dir / "logs" / name, job.settings.work_dir / name


@contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Hold a lock that many processes may hold at once, and that keeps :func:`file_lock` from being had.

    Its file stays, for the others. Waits for a process that has the file for itself, which is never long.

    Args:
        path: file to lock; made with its folder.
    """
    descriptor = _open_shared(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _open_shared(path: Path) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError:  # a file system without locks
            return descriptor
        if _is_same_file(descriptor, path):
            return descriptor
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still is the file that was opened: its last owner may have removed it since."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


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
        if not _is_same_file(descriptor, path):
            raise TryAgainError(f"Another run has just released {path}: run again.")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
