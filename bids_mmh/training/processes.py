"""What the processes of a run exchange beside gradients."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from bids_mmh.errors import BidsMmhError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")


def shares(total: int, fabric: "Fabric") -> range:
    """Which of ``total`` parts are this process's: every ``world_size``-th, from its rank."""
    return range(fabric.global_rank, total, fabric.world_size)


def on_first(fabric: "Fabric", action: Callable[[], None]) -> None:
    """Let the first process do something, however long it takes, while the others wait.

    Raises:
        BidsMmhError: what ``action`` raised, on every process.
    """
    problem: BidsMmhError | None = None
    with fabric.rank_zero_first():
        if fabric.is_global_zero:
            try:
                action()
            except BidsMmhError as error:
                problem = error
    problem = fabric.broadcast(problem)
    if problem is not None:
        raise problem


def gather_in_order(fabric: "Fabric", mine: list[tuple[int, T]]) -> list[T]:
    """What all processes hold, in the order of its numbers; the same on every process.

    Args:
        fabric: the run's.
        mine: (number, value) of this process's parts; values are pickled, tensors in them on the CPU.
    """
    everyone = [mine]
    if fabric.world_size > 1:
        import torch.distributed as dist

        everyone = [[] for _ in range(fabric.world_size)]
        dist.all_gather_object(everyone, mine)
    numbered = sorted((part for parts in everyone for part in parts), key=lambda part: part[0])
    return [value for _, value in numbered]
