"""What the processes of a run tell each other beside gradients."""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")


def shares(total: int, fabric: "Fabric") -> range:
    """Which of ``total`` parts are this process's: every ``world_size``-th, from its rank."""
    return range(fabric.global_rank, total, fabric.world_size)


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
