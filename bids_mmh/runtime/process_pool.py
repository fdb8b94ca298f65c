"""The pool of worker processes that everything that runs in parallel here uses."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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
    anew; the server is forked before any of that.

    Args:
        workers: most processes at a time.
        preload: modules that the server imports once for all workers, where it has not been started yet.
        initializer: called in each worker when it starts.
        initargs: what with.
    """
    context = get_context("forkserver")
    if preload:
        context.set_forkserver_preload(list(preload))
    return ProcessPoolExecutor(workers, mp_context=context, initializer=initializer, initargs=initargs)
