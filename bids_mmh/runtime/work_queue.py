"""Sharing work among processes and runs on one file system: whoever claims a piece does it, nobody else."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from bids_mmh.errors import TryAgainError
from bids_mmh.runtime.locks import file_lock

T = TypeVar("T")

POLL_SECONDS = 2.0  # between looks at what others hold


def claim_each(
    pieces: Sequence[T],
    *,
    lock: Callable[[T], Path],
    is_done: Callable[[T], bool],
    first: int = 0,
    poll: float = POLL_SECONDS,
) -> Iterator[tuple[T, ExitStack]]:
    """Claim pieces of work one after the other, until all are done or were claimed here once.

    A claim is a lock of the file system: it ends with its process, however that ends, and then somebody else
    gets the piece. What others hold is come back to, so that the last process to leave has seen everything
    done, or tried it.

    Args:
        pieces: the work, the same in all processes.
        lock: file to lock for a piece; in a folder that all processes see.
        is_done: whether a piece needs nothing more.
        first: where to begin, so that processes do not all ask for the same piece.
        poll: seconds to wait where others hold all that is left.

    Yields:
        A piece and its claim, to be closed when the piece is done.
    """
    begin = first % len(pieces) if pieces else 0
    left = [*pieces[begin:], *pieces[:begin]]
    while left:
        held_by_others = []
        for piece in left:
            if is_done(piece):
                continue
            claim = ExitStack()
            try:
                claim.enter_context(file_lock(lock(piece)))
            except TryAgainError:
                held_by_others.append(piece)
                continue
            if is_done(piece):  # somebody finished it between the look and the lock
                claim.close()
                continue
            yield piece, claim
        left = held_by_others
        if left:
            time.sleep(poll)
