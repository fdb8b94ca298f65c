"""Items of a run in the order of its plan, read ahead by worker processes where that helps."""

from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset


class Items(Protocol):
    """Training items by their position: a function of (step, part) alone.

    Loader workers get a pickled copy, so keep networks and devices out of it. Items have
    ``to(device)``, and ``pin_memory()`` if it is to be fast. Where ``read_ahead`` is there, a worker reads
    so many items ahead.
    """

    def __getitem__(self, position: tuple[int, int], /) -> Any:  # noqa: ANN401
        """The item of part ``part`` of optimizer step ``step``."""


class _Positioned(Dataset[Any]):
    def __init__(self, items: Items) -> None:
        self.items = items

    def __getitem__(self, position: tuple[int, int]) -> Any:  # noqa: ANN401
        return self.items[position]


def load(items: Items, positions: list[tuple[int, int]], *, workers: int, pin: bool) -> Iterator[Any]:
    """Items at ``positions``, in that order whatever the number of workers.

    Args:
        items: where they come from.
        positions: (step, part) of each.
        workers: reading processes; 0 reads in this one.
        pin: whether to put them into page-locked memory, for a GPU.
    """
    # a forked worker would inherit threads and CUDA state in whatever condition they are, and one of a fork
    # server would not notice that this process was killed
    loader = DataLoader(
        _Positioned(items),
        sampler=positions,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=getattr(items, "read_ahead", 2) if workers else None,
    )
    return iter(loader)
