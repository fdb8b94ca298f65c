"""Training of the project's own slice encoder: one acquisition style attracts, another repels.

Each step is a small study of travelling subjects: a few subjects, whose tissues are first brought to common
intensities, are all seen through the same few random styles. What is compared is the mean over some slices of
a subject: means of one style should lie together across subjects, and apart from the same subjects in other
styles. Scans as they are would not do: where every site has its own subjects, the encoder would
learn subjects.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import NoInputError
from bids_mmh.method.encoder.slices import SliceEncoder, square, style_encoder
from bids_mmh.method.encoder.style_network import StyleNetwork, StyleNetworkConfig, save_style_network
from bids_mmh.method.encoder.tpa_clip import AXES, slice_indices, take_slices
from bids_mmh.method.style.losses import contrastive_loss
from bids_mmh.training.data.scans import find_scans, load_on_grid
from bids_mmh.training.slice_encoder.random_styles import apply_style, draw_style

logger = logging.getLogger("bids_mmh.training")

TISSUES = (0.1, 0.5, 0.9)  # quantiles where the search for the intensities of the three tissues starts


@dataclass(frozen=True)
class EncoderRecipe:
    """How a slice encoder is trained.

    Attributes:
        network: architecture.
        sequences: BIDS suffixes to learn from.
        steps: optimizer steps.
        styles: random styles of each sequence a step.
        subjects: subjects of each sequence a step, or all if there are fewer.
        slices: slices of each subject a step.
        per_view: slices of each view read from a scan.
        learning_rate: at the start of a cosine decay to nothing.
        temperature: of the contrast.
        seed: seeds weights, styles and choice of slices.
    """

    network: StyleNetworkConfig = field(default_factory=StyleNetworkConfig)
    sequences: tuple[str, ...] = ("T1w", "T2w")
    steps: int = 240
    styles: int = 4
    subjects: int = 3
    slices: int = 4
    per_view: int = 24
    learning_rate: float = 2e-3
    temperature: float = 0.1
    seed: int = 2026


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


def read_bank(scans: Sequence[DerivedScan], recipe: EncoderRecipe) -> Tensor:
    """Slices (scans, slices, 1, size, size) of one sequence, each tissue at one intensity in all scans.

    Raises:
        NoInputError: fewer than two scans: there is nothing to compare.
    """
    if len(scans) < 2:
        raise NoInputError(f"{scans[0].image} is the only scan of its sequence: training needs at least two.")
    own = torch.stack([read_slices(scan, recipe.per_view, recipe.network.size) for scan in scans])
    return standardise(own)


def read_slices(scan: DerivedScan, per_view: int, size: int) -> Tensor:
    """Slices (3 · per_view, 1, size, size) of three views of one scan, in [0, 1], background 0."""
    shape: tuple[int, int, int] = nib.load(scan.image).shape  # type: ignore[attr-defined]
    volume = torch.from_numpy(load_on_grid(scan, shape).astype(np.float32))
    views = [
        square(take_slices(volume, axis, slice_indices(volume > -1, axis, per_view))[:, None], size)
        for axis in AXES.values()
    ]
    return (torch.cat(views) + 1.0) / 2.0


def standardise(own: Tensor) -> Tensor:
    """Bring the tissues of scans (scans, slices, 1, h, w) to the mean of their intensities over all scans.

    The map is linear between the tissues. Matching whole histograms instead would make fluid look like grey
    matter where there is more of it. Background stays 0.
    """
    values = own.numpy()
    tissues = np.stack([tissue_intensities(scan[scan > 0]) for scan in values])
    ends = np.zeros((len(tissues), 1)), np.ones((len(tissues), 1))
    knots = np.concatenate([ends[0], tissues, ends[1]], axis=1)
    mapped = [np.interp(scan, k, knots.mean(0)) for scan, k in zip(values, knots, strict=True)]
    return torch.from_numpy(np.where(values > 0, np.stack(mapped), 0.0).astype(np.float32))


def tissue_intensities(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Centres of the three clusters of a brain's intensities (n,), rising."""
    from scipy.cluster.vq import kmeans2

    start = np.quantile(values, TISSUES)
    centres, _ = kmeans2(values.astype(np.float64)[:, None], start[:, None], minit="matrix")
    return np.sort(centres[:, 0])


def fit(network: StyleNetwork, banks: Sequence[Tensor], recipe: EncoderRecipe) -> StyleNetwork:
    """Train a network on the banks of several sequences; it is returned in evaluation mode."""
    from tqdm import tqdm

    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    network.train()
    bar = tqdm(range(recipe.steps), desc="slice encoder")
    for step in bar:
        slices, labels = draw_batch(banks, recipe, generator)
        means = network(slices.flatten(0, 1)).unflatten(0, slices.shape[:2]).mean(1)
        loss = contrastive_loss(means, labels, temperature=recipe.temperature)
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
    banks: Sequence[Tensor], recipe: EncoderRecipe, generator: Generator
) -> tuple[Tensor, list[int]]:
    """Slices (N, slices, 1, size, size) of N subjects in styles, and the number of each one's style."""
    seen, labels = [], []
    for sequence, bank in enumerate(banks):
        subjects = torch.randperm(len(bank), generator=generator)[: recipe.subjects]
        chosen = torch.randint(bank.shape[1], (len(subjects), recipe.slices), generator=generator)
        slices = bank[subjects[:, None], chosen]
        for style in range(recipe.styles):
            through = apply_style(slices.flatten(0, 1), draw_style(generator), generator)
            seen.append(through.view_as(slices))
            labels += [sequence * recipe.styles + style] * len(subjects)
    return torch.cat(seen), labels
