"""Trains as each of the processes that a launcher starts, and leaves what each ended with.

Arguments: derivatives, folder for the model and the leavings, volumes per step.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from bids_mmh.method.config import PRESETS
from bids_mmh.training.engine import Compute
from bids_mmh.training.recipe import Phase, Recipe, model_on_grid
from bids_mmh.training.run import train


def recipe(accumulate: int) -> Recipe:
    """Most samples move the records, and the saved weights are those of the last step."""
    model = model_on_grid(replace(PRESETS["tiny"], bins=20), 16.0)
    phase = Phase(16.0, steps=3, learning_rate=1e-3, accumulate=accumulate)
    return Recipe(
        model,
        (phase,),
        seed=5,
        validate_every=2,
        max_timestep=120,
        unified_share=0.9,
        weight_average=0.0,
    )


if __name__ == "__main__":
    derivatives, folder, accumulate = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    model = train(recipe(accumulate), [derivatives], folder / "model", compute=Compute("cpu", workers=0))
    torch.save(model.state_dict(), folder / f"rank{os.environ.get('RANK', '0')}.pt")
