"""Trains as each of the processes that a launcher starts, and leaves what each ended with.

Arguments: derivatives, folder for the model and the leavings, volumes per step.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

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


if __name__ == "__main__":
    derivatives, folder, accumulate = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    left = trained(accumulate, derivatives, folder / "model")
    torch.save(left, folder / f"rank{os.environ.get('RANK', '0')}.pt")
