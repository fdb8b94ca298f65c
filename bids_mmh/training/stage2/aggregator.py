"""Warm-up of the aggregator: it learns to separate acquisitions before its style vectors count."""

import logging

import torch
from torch import nn

from bids_mmh.method.style.losses import contrastive_loss, separation
from bids_mmh.training.recipe import Stage2Recipe
from bids_mmh.training.seeds import draw_seed
from bids_mmh.training.stage2.pairs import PairMaker

logger = logging.getLogger("bids_mmh.training")


def train_aggregator(aggregator: nn.Module, maker: PairMaker, recipe: Stage2Recipe, seed: int) -> None:
    """Train an aggregator by the guard alone, on frozen embeddings of real scans.

    Cheap, and a function of its arguments alone: every process does the same by itself.

    Args:
        aggregator: of Ψ, trained in place; left alone if it has nothing to learn.
        maker: draws the guard batches.
        recipe: ``aggregator_steps`` and ``aggregator_learning_rate``.
        seed: of the draws.
    """
    parameters = list(aggregator.parameters())
    if not parameters or not recipe.aggregator_steps:
        return
    device = parameters[0].device
    optimizer = torch.optim.Adam(parameters, lr=recipe.aggregator_learning_rate)
    ratios = []
    for step in range(recipe.aggregator_steps):
        batch = maker.guard_batch(maker.sequences[step % len(maker.sequences)], draw_seed(seed, step, 4))
        batch = batch.to(device)
        styles = aggregator(batch.image, batch.places) - aggregator(batch.aligned, batch.places)
        contrastive_loss(styles, batch.sites).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ratios.append(separation(styles.detach(), batch.sites, batch.subjects).ratio)
    tenth = max(1, len(ratios) // 10)
    logger.info(
        "Style aggregator: separation of acquisitions %.2f at first, %.2f after %d steps (above 1 is right).",
        sum(ratios[:tenth]) / tenth,
        sum(ratios[-tenth:]) / tenth,
        len(ratios),
    )
