"""Which GPUs a run may use, and which of them a step gets."""

import ctypes
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def gpus_of(device: str) -> tuple[int, ...]:
    """Indices of the GPUs that a device option means.

    Args:
        device: ``auto`` or ``cuda`` for all that this process sees, ``cuda:N`` for one, ``cpu`` for none.
    """
    if device == "cpu":
        return ()
    _, colon, index = device.partition(":")
    if colon:
        return (int(index),)
    return tuple(range(count_gpus()))


def count_gpus() -> int:
    """How many GPUs PyTorch sees; without a driver it is not asked, for its import takes seconds."""
    if not driver_is_there():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def driver_is_there() -> bool:
    """Whether there is a GPU driver: NVIDIA's library, or AMD's device, which PyTorch calls CUDA too."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


class GpuPool:
    """Lends GPUs to steps that run at once, always the one with the fewest steps on it.

    Args:
        gpus: indices of the GPUs; without any, all steps get GPU 0.
    """

    def __init__(self, gpus: Sequence[int]) -> None:
        self._gpus = tuple(gpus) or (0,)
        self._users = Counter(dict.fromkeys(self._gpus, 0))

    def lend(self) -> int:
        """Take the least used GPU."""
        gpu = min(self._gpus, key=self._users.__getitem__)
        self._users[gpu] += 1
        return gpu

    def give_back(self, gpu: int) -> None:
        """Say that a step has left a GPU."""
        self._users[gpu] -= 1
