"""Device, precision and process start-up, left to Lightning Fabric."""

import logging
import re
from typing import TYPE_CHECKING

from bids_mmh.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(device: str = "auto", precision: str | None = None) -> "Fabric":
    """A launched Fabric on one device.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: Fabric's name of a precision; bf16 mixed on CUDA and float32 on CPU by default (most CPUs
            only emulate bf16).

    Raises:
        UsageError: no such device on this machine, or no such precision.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"'{device}' is not a device: use auto, cpu, cuda or cuda:N.")
    import torch
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    index = device.partition(":")[2]
    try:
        fabric = Fabric(
            accelerator="cuda" if cuda else "cpu",
            devices=[int(index)] if index else 1,
            precision=precision or ("bf16-mixed" if cuda else "32-true"),  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"Cannot train on '{device}': {error}") from error
    fabric.launch()
    return fabric
