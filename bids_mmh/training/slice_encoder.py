"""Training of the project's own slice encoder: slices of one acquisition style attract, others repel.

Each step sees groups of slices that share a style and nothing else. Most groups are slices of several people,
brought to one distribution of intensities first and then all through one random style; two groups have the
same slices under two styles, so that style alone can tell them apart. The other groups are slices of one scan
as it is: real differences of scanners and protocols.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Generator, Tensor

from bids_mmh.errors import NoInputError
from bids_mmh.method.slice_encoders import SliceEncoder, square, style_encoder
from bids_mmh.method.style_losses import contrastive_loss
from bids_mmh.method.style_network import StyleNetwork, StyleNetworkConfig, save_style_network
from bids_mmh.method.tpa_clip import AXES, slice_indices, take_slices
from bids_mmh.training.data import TrainingScan, find_scans, load_on_grid
from bids_mmh.training.random_styles import apply_style, draw_style

logger = logging.getLogger("bids_mmh.training")

LEVELS = 256  # points of a quantile function


@dataclass(frozen=True)
class EncoderRecipe:
    """How a slice encoder is trained.

    Attributes:
        network: architecture.
        sequences: BIDS suffixes to learn from.
        steps: optimizer steps.
        pairs: pairs of random styles of each sequence a step.
        scans: scans as they are of each sequence a step.
        slices: slices of each style and each scan a step.
        per_view: slices of each view read from a scan.
        learning_rate: at the start of a cosine decay to nothing.
        temperature: of the contrast.
        seed: seeds weights, styles and choice of slices.
    """

    network: StyleNetworkConfig = field(default_factory=StyleNetworkConfig)
    sequences: tuple[str, ...] = ("T1w", "T2w")
    steps: int = 500
    pairs: int = 3
    scans: int = 3
    slices: int = 6
    per_view: int = 24
    learning_rate: float = 2e-3
    temperature: float = 0.1
    seed: int = 2026


@dataclass(frozen=True)
class SliceBank:
    """Slices of all scans of one sequence in [0, 1], background 0: (scans, slices, 1, size, size).

    Attributes:
        own: as they are.
        standard: with the intensities of all scans brought to one distribution.
    """

    own: Tensor
    standard: Tensor


def train_encoder(
    recipe: EncoderRecipe, derivatives: Sequence[Path], output: Path, *, threads: int = 1
) -> SliceEncoder:
    """Train on preprocessed derivatives and write ``config.json`` and ``model.safetensors``.

    Args:
        recipe: what to train and how.
        derivatives: output folders of ``bids-mmh ... participant``.
        output: folder to write; ``--encoder`` takes it.
        threads: CPU threads; the result is the same on one machine for one number of threads.

    Raises:
        NoInputError: no scans, or fewer than two of a sequence.
    """
    torch.set_num_threads(threads)
    banks = [read_bank(find_scans(derivatives, [name]), recipe) for name in recipe.sequences]
    torch.manual_seed(recipe.seed)
    network = fit(StyleNetwork(recipe.network), banks, recipe)
    save_style_network(network, output)
    return style_encoder(network)


def read_bank(scans: Sequence[TrainingScan], recipe: EncoderRecipe) -> SliceBank:
    """Read the slices of scans of one sequence.

    Raises:
        NoInputError: fewer than two scans: there is nothing to compare.
    """
    if len(scans) < 2:
        raise NoInputError(f"{scans[0].image} is the only scan of its sequence: training needs at least two.")
    own = torch.stack([read_slices(scan, recipe.per_view, recipe.network.size) for scan in scans])
    return SliceBank(own, standardise(own))


def read_slices(scan: TrainingScan, per_view: int, size: int) -> Tensor:
    """Slices (3 · per_view, 1, size, size) of three views of one scan, in [0, 1], background 0."""
    shape: tuple[int, int, int] = nib.load(scan.image).shape  # type: ignore[attr-defined]
    volume = torch.from_numpy(load_on_grid(scan, shape).astype(np.float32))
    views = [
        square(take_slices(volume, axis, slice_indices(volume > -1, axis, per_view))[:, None], size)
        for axis in AXES.values()
    ]
    return (torch.cat(views) + 1.0) / 2.0


def standardise(own: Tensor) -> Tensor:
    """Map each scan's brain intensities to the mean quantile function of all scans; background stays 0."""
    levels = np.linspace(0.0, 1.0, LEVELS)
    values = own.numpy()
    quantiles = np.stack([np.quantile(scan[scan > 0], levels) for scan in values])
    target = quantiles.mean(0)
    mapped = [np.interp(scan, q, target) for scan, q in zip(values, quantiles, strict=True)]
    return torch.from_numpy(np.where(values > 0, np.stack(mapped), 0.0).astype(np.float32))


def fit(network: StyleNetwork, banks: Sequence[SliceBank], recipe: EncoderRecipe) -> StyleNetwork:
    """Train a network on the banks of several sequences; it is returned in evaluation mode."""
    from tqdm import tqdm

    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    network.train()
    bar = tqdm(range(recipe.steps), desc="slice encoder")
    for step in bar:
        slices, labels = draw_batch(banks, recipe, generator)
        loss = contrastive_loss(network(slices), labels, temperature=recipe.temperature)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()
        value = float(loss.detach())
        bar.set_postfix(loss=f"{value:.3f}")
        if (step + 1) % 50 == 0:
            logger.info("Step %d of %d: contrast %.3f.", step + 1, recipe.steps, value)
    return network.eval()


def draw_batch(
    banks: Sequence[SliceBank], recipe: EncoderRecipe, generator: Generator
) -> tuple[Tensor, list[int]]:
    """Slices (N, 1, size, size) and the number of the style that each was seen through."""
    groups: list[Tensor] = []
    for bank in banks:
        for _ in range(recipe.pairs):
            base = _of_anyone(bank.standard, recipe.slices, generator)
            groups += [apply_style(base, draw_style(generator), generator) for _ in range(2)]
        for i in torch.randperm(len(bank.own), generator=generator)[: recipe.scans].tolist():
            groups.append(_of_anyone(bank.own[i : i + 1], recipe.slices, generator))
    labels = [label for label, group in enumerate(groups) for _ in group]
    return torch.cat(groups), labels


def _of_anyone(slices: Tensor, count: int, generator: Generator) -> Tensor:
    """``count`` slices drawn from all scans."""
    everyone = slices.flatten(0, 1)
    return everyone[torch.randint(len(everyone), (count,), generator=generator)]
