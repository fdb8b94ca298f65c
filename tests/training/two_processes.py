"""Trains in two processes, by itself or as one that torchrun has started.

Arguments: ``command`` and those of ``bids-mmh-train``; or ``state``, derivatives, folder for the model and
for what each process ends with, volumes per step.
"""

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning_fabric  # noqa: F401 - with all that training imports, before the processes part
import torch

from bids_mmh.cli.train import main
from bids_mmh.method.config import PRESETS
from bids_mmh.training.engine import Compute
from bids_mmh.training.recipe import Phase, Recipe, model_on_grid
from bids_mmh.training.run import train
from bids_mmh.training.stage1.task import Stage1Task


def recipe(accumulate: int) -> Recipe:
    """Most samples move the records, and averages that move by half a step."""
    tiny = replace(PRESETS["tiny"], bins=20, intensity_map="moments")
    network = replace(tiny.network, style_code="displacement", intensity_bins=0)
    model = model_on_grid(replace(tiny, network=network), 16.0)
    phase = Phase(16.0, steps=3, learning_rate=1e-3, accumulate=accumulate)
    return Recipe(
        model,
        (phase,),
        seed=5,
        validate_every=2,
        max_timestep=120,
        unified_share=0.1,
        weight_average=0.5,
    )


def trained(accumulate: int, derivatives: Path, folder: Path) -> dict[str, Any]:
    """What this process ends with: the model, and both kinds of records of the task that trained it."""
    tasks = []

    class Kept(Stage1Task):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            tasks.append(self)

    with patch("bids_mmh.training.stage1.task.Stage1Task", Kept):
        model = train(recipe(accumulate), [derivatives], folder, compute=Compute("cpu", workers=0))
    (task,) = tasks
    return {"model": model.state_dict(), **task.state_dict()}


def leave_state(derivatives: str, folder: str, accumulate: str) -> None:
    """Train as one of the processes, and leave what it ends with."""
    state = trained(int(accumulate), Path(derivatives), Path(folder) / "model")
    torch.save(state, Path(folder) / f"rank{os.environ['RANK']}.pt")


def train_by_command(*arguments: str) -> None:
    """Run ``bids-mmh-train`` as one of the processes."""
    sys.exit(main(arguments))


def in_two_processes(work: Callable[[], None]) -> None:
    """Call ``work`` in two processes with the environment of torchrun; they share the imports of this one."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    torch.multiprocessing.start_processes(as_rank, (work,), nprocs=2, start_method="fork")


def as_rank(rank: int, work: Callable[[], None]) -> None:
    """What one of the processes does."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    work()


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    work = partial({"command": train_by_command, "state": leave_state}[kind], *arguments)
    if "RANK" in os.environ:
        work()
    else:
        in_two_processes(work)
