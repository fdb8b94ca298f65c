"""Training of the brain mask network on simulated scans of heads whose brain is known."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from bids_mmh.brain_mask.network import RANGE_MM, MaskNetwork, save_mask_network
from bids_mmh.errors import NoInputError
from bids_mmh.method.precision import fast_autocast
from bids_mmh.synthesis.heads import read_head
from bids_mmh.training.brain_mask.random_scans import Example, KnownHead, draw_example
from bids_mmh.training.loop.checkpoint import load_checkpoint, save_checkpoint

logger = logging.getLogger("bids_mmh.training")

BORDER_MM = 3.0
"""Errors nearer to the surface than this count most: there the mask is cut."""


@dataclass(frozen=True)
class MaskRecipe:
    """How a brain mask network is trained.

    Attributes:
        steps: optimizer steps.
        batch: scans a step.
        learning_rate: at the start of a cosine decay to nothing.
        weight_average: decay of the average of the weights, which is what is saved.
        held_out: names of heads that are not trained on.
        save_every: steps between two versions of the weights on disk.
        seed: of weights and scans.
    """

    steps: int = 8000
    batch: int = 2
    learning_rate: float = 2e-3
    weight_average: float = 0.998
    held_out: tuple[str, ...] = ("head01", "head12", "head20")
    save_every: int = 250
    seed: int = 2028


class RandomScans(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Endless simulated scans of some heads; the same scans for the same seed.

    Attributes:
        heads: to draw from.
        seed: of all scans.
        first: number of the first scan: a training that goes on does not see the same scans again.
    """

    def __init__(self, heads: Sequence[KnownHead], seed: int, first: int = 0) -> None:
        self.heads = heads
        self.seed = seed
        self.first = first

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the fields of :class:`Example`."""
        worker = torch.utils.data.get_worker_info()
        number, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number += self.first
        while True:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + number)
            head = self.heads[int(torch.randint(len(self.heads), (), generator=generator))]
            one = draw_example(head, generator)
            yield one.scan, one.distance, one.weight
            number += step


def train_mask_network(recipe: MaskRecipe, labels: Path, output: Path, *, threads: int, workers: int) -> None:
    """Train on label maps of heads and write the weights, now and then and at the end.

    A training that was interrupted goes on from ``OUTPUT.checkpoint``, with the same recipe.

    Args:
        recipe: how.
        labels: folder of ``*_dseg.nii.gz`` (see ``docs/training.md``).
        output: file to write.
        threads: CPU threads of the network.
        workers: processes that simulate scans beside it; 0 for none.

    Raises:
        NoInputError: there is no label map but the held-out ones.
    """
    torch.set_num_threads(threads)
    heads = read_heads(labels, recipe.held_out)
    training = _Training.begin(recipe)
    checkpoint, fingerprint = output.with_name(output.name + ".checkpoint"), repr(recipe)
    if state := load_checkpoint(checkpoint, fingerprint, torch.device("cpu")):
        training.restore(state)
    scans = RandomScans(heads, recipe.seed, first=training.step * recipe.batch)
    recent = 0.0
    for batch in DataLoader(scans, recipe.batch, num_workers=workers):
        if training.step >= recipe.steps:
            break
        loss = training.advance(Example(*batch))
        recent = loss if not recent else recent + 0.02 * (loss - recent)
        if training.step % recipe.save_every == 0 or training.step == recipe.steps:
            save_mask_network(training.average.module.state_dict(), output)
            save_checkpoint(checkpoint, training.state(), fingerprint)
            logger.info(
                "Step %d of %d: off by %.3f mm near the surface.", training.step, recipe.steps, recent
            )


@dataclass
class _Training:
    """Everything that changes while a network is trained."""

    network: MaskNetwork
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    rate: torch.optim.lr_scheduler.LRScheduler
    step: int = 0

    @classmethod
    def begin(cls, recipe: MaskRecipe) -> "_Training":
        torch.manual_seed(recipe.seed)
        network = MaskNetwork()
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.weight_average))
        optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=1e-3)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
        return cls(network, average, optimizer, rate)

    def advance(self, batch: Example) -> float:
        """One optimizer step; returns the loss before it."""
        loss = mask_loss(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.rate.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in _STATEFUL} | {"step": self.step}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]


_STATEFUL = ("network", "average", "optimizer", "rate")


def read_heads(folder: Path, held_out: Sequence[str]) -> list[KnownHead]:
    """Read the label maps of a folder.

    Args:
        folder: with ``*_dseg.nii.gz``.
        held_out: names of heads that are left out.

    Raises:
        NoInputError: there is none.
    """
    files = [p for p in sorted(folder.glob("*_dseg.nii.gz")) if p.name.split("_")[0] not in held_out]
    if not files:
        raise NoInputError(f"{folder} has no *_dseg.nii.gz to train on.")
    return [KnownHead.of(read_head(path)) for path in files]


def mask_loss(network: MaskNetwork, batch: Example) -> Tensor:
    """Mean error of the distance in mm, four times as heavy near the surface, within the field of view."""
    with fast_autocast(batch.scan.device):
        found = network(batch.scan)
    near = (batch.distance.abs() < BORDER_MM).float()
    weight = batch.weight * (1 + 3 * near) * (batch.distance.abs() < RANGE_MM).float().mul(0.8).add(0.2)
    error = (found.float() - batch.distance).abs()
    return (weight * error).sum() / weight.sum().clamp(min=1)
