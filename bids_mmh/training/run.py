"""Training from derivatives to a model folder, in one call."""

from collections.abc import Sequence
from pathlib import Path

from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.training.data import find_scans
from bids_mmh.training.recipe import Recipe
from bids_mmh.training.stage1 import Stage1Trainer


def train(
    recipe: Recipe,
    derivatives: Sequence[Path],
    output: Path,
    *,
    device: str = "auto",
    precision: str | None = None,
) -> Harmonizer:
    """Train Stage I on preprocessed derivatives and write the model folder.

    Args:
        recipe: what to train and how.
        derivatives: output folders of ``bids-mmh ... participant``.
        output: model folder; ``output/training`` keeps cache, split, losses and checkpoint for resuming.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: see :func:`make_fabric`.
    """
    scans = find_scans(derivatives, recipe.model.sequences)
    trainer = Stage1Trainer(recipe, output / "training", device=device, precision=precision)
    model = trainer.run(scans)
    model.save_pretrained(output)
    return model
