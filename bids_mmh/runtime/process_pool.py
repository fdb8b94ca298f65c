"""The pool of worker processes that everything that runs in parallel here uses."""

import ctypes
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def process_pool(
    workers: int,
    *,
    preload: Sequence[str] = (),
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> ProcessPoolExecutor:
    """Make a pool whose workers are forked from a clean server.

    A forked child of a process that has run PyTorch can hang for ever, and a spawned one imports everything
    anew; the server is forked before any of that. Where the process that asked for the pool is killed, the
    server ends and its workers with it (on Linux): none goes on to write beside the next run.

    Args:
        workers: most processes at a time.
        preload: modules that the server imports once for all workers, where it has not been started yet.
        initializer: called in each worker when it starts.
        initargs: what with.
    """
    context = get_context("forkserver")
    if preload:
        context.set_forkserver_preload(list(preload))
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(initializer, initargs)
    )


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    end_with_parent()
    if initializer is not None:
        initializer(*initargs)


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, however that happens; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
