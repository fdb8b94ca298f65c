"""Which of several processes this one is, as torchrun or SLURM has started them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from bids_mmh.errors import UsageError


@dataclass(frozen=True)
class Process:
    """A process of a run.

    Attributes:
        rank: its number among all, from 0.
        count: of all of them.
        local_rank: its number among those on its machine.
        local_count: of those.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes for all."""
        return self.rank == 0


_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),  # torchrun
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),  # srun
)


def this_process(environ: Mapping[str, str] = os.environ) -> Process:
    """Read the launcher's environment; a process without a launcher is alone.

    In a batch script of SLURM, outside ``srun``, one process runs, whatever the job was given.
    """
    for rank, count, local_rank, local_count in _LAUNCHERS:
        if count in environ and rank in environ:
            # SLURM writes "2(x3)" or "2,1" for several nodes.
            here = "".join(c if c.isdigit() else " " for c in environ.get(local_count, "1")).split()[0]
            local = int(environ.get(local_rank, "0"))
            return Process(int(environ[rank]), int(environ[count]), local, int(here))
    return Process()


def device_of(device: str, process: Process) -> str:
    """Give a process its own GPU.

    Args:
        device: from ``choose_device``: ``cpu``, ``cuda`` or ``cuda:N``.
        process: which one it is.

    Returns:
        ``cpu``, or ``cuda:N``: processes of one machine take its GPUs in turn.

    Raises:
        UsageError: one GPU was named for several processes.
    """
    if device == "cpu":
        return device
    if ":" in device:
        if process.local_count > 1:
            raise UsageError(f"'{device}' is one device: use --device cuda for several processes.")
        return device
    import torch

    return f"cuda:{process.local_rank % torch.cuda.device_count()}"
