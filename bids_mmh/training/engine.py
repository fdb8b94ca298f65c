"""Where training runs: devices, processes and precision, left to Lightning Fabric."""

import logging
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from bids_mmh.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


# weights stay in float32: the steps of a fine-tuning are too small for bf16 weights to move
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Compute:
    """Where and how a run computes; nothing here decides what it computes.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        devices: processes on this machine, one a device; None for what the launcher says, or one.
        num_nodes: machines; None for what the launcher says, or one.
        precision: one of ``PRECISIONS``; None for bf16 mixed where the hardware has it, else float32.
        workers: processes that read ahead, per device; None for 4 on CUDA and none on CPU.
    """

    device: str = "auto"
    devices: int | None = None
    num_nodes: int | None = None
    precision: str | None = None
    workers: int | None = None


def make_fabric(compute: Compute = Compute()) -> "Fabric":
    """A launched Fabric.

    Processes started by torchrun or SLURM's srun find each other; otherwise ``devices`` are started here.

    Raises:
        UsageError: no such device on this machine, no such precision, or not what the launcher started.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", compute.device):
        raise UsageError(f"'{compute.device}' is not a device: use auto, cpu, cuda or cuda:N.")
    if compute.precision not in (None, *PRECISIONS):
        raise UsageError(f"'{compute.precision}' is not a precision: use {', '.join(PRECISIONS)}.")
    index = compute.device.partition(":")[2]
    if index and (compute.devices or 1) > 1:
        raise UsageError(f"'{compute.device}' is one device: use --device cuda for {compute.devices}.")
    import torch
    from lightning_fabric import Fabric

    from bids_mmh.method.precision import precision_name

    for name in ("lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    cuda = compute.device.startswith("cuda") or (compute.device == "auto" and torch.cuda.is_available())
    precision = compute.precision or precision_name(torch.device("cuda" if cuda else "cpu"))
    devices, num_nodes = _launched()
    try:
        fabric = Fabric(
            accelerator="cuda" if cuda else "cpu",
            devices=[int(index)] if index else compute.devices or devices,
            num_nodes=compute.num_nodes or num_nodes,
            **_precision(precision, "cuda" if cuda else "cpu"),
        )
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"Cannot train on '{compute.device}': {error}") from error
    if cuda:
        torch.backends.cudnn.benchmark = True  # all volumes of a phase have one shape
    return fabric


def _precision(name: str, device: str) -> dict[str, Any]:
    """Arguments of Fabric that decide the precision."""
    if name == "32-true":
        return {"precision": name}
    from bids_mmh.training.mixed_precision import InputsAsTheyAre

    return {"plugins": InputsAsTheyAre(cast(Literal["16-mixed", "bf16-mixed"], name), device)}


def loader_workers(fabric: "Fabric", compute: Compute) -> int:
    """Reading processes per device."""
    if compute.workers is not None:
        return compute.workers
    return 4 if fabric.device.type == "cuda" else 0


def _launched() -> tuple[int, int]:
    """Processes per machine and machines, as torchrun or srun started them; (1, 1) without a launcher."""
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    if TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return 1, 1
