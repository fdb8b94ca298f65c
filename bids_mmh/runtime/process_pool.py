"""The pool of worker processes that everything that runs in parallel here uses."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any


def process_pool(
    workers: int,
    *,
    preload: Sequence[str] = (),
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> ProcessPoolExecutor:
    """Make a pool whose workers are forked from a clean server.

    A forked child of a process that has run PyTorch can hang for ever, and a spawned one imports everything
    anew; the server is forked before any of that. Workers end when the process that asked for them is killed:
    none goes on to write beside the next run.

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
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _end_with_parent() -> None:
    """End this process when the one that asked for it has ended, however that happened."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
