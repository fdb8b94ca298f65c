"""The Stage I training loop: phases, checkpoints, resume, progress, and the model folder at the end."""

import csv
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.training.data import TrainingScan, Volume, VolumeCache, find_scans, split_subjects
from bids_mmh.training.engine import make_fabric
from bids_mmh.training.objective import draw, stage1_losses
from bids_mmh.training.recipe import Phase, Recipe, model_on_grid

logger = logging.getLogger("bids_mmh.training")
COLUMNS = ["phase", "step", "split", "learning_rate", "total", "noise", "gradient", "ema"]


def learning_rate(phase: Phase, step: int) -> float:
    """Linear warm-up over the first twentieth of the phase, then cosine decay to a hundredth."""
    warm = max(1, phase.steps // 20)
    if step < warm:
        return phase.learning_rate * (step + 1) / warm
    progress = (step - warm) / max(1, phase.steps - warm)
    return phase.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def order(scans: Sequence[TrainingScan], seed: int) -> Iterator[int]:
    """Endless indices into ``scans``: shuffled epochs, sequences taken in turn so that each weighs the same."""
    generators = []
    for sequence in sorted({scan.sequence for scan in scans}):
        members = [i for i, scan in enumerate(scans) if scan.sequence == sequence]
        generators.append(_shuffled_forever(members, seed + len(generators)))
    while True:
        for generator in generators:
            yield next(generator)


def _shuffled_forever(members: list[int], seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for i in torch.randperm(len(members), generator=generator).tolist():
            yield members[i]


def draw_seed(*position: int) -> int:
    """An independent seed for a position (seed, phase, step, …) of a run."""
    return int(np.random.SeedSequence(position).generate_state(1)[0])


class Stage1Trainer:
    """Trains one :class:`Harmonizer` by a recipe; its state is what a checkpoint holds."""

    def __init__(self, recipe: Recipe, folder: Path, *, device: str, precision: str | None) -> None:
        self.recipe, self.folder = recipe, folder
        self.fabric = make_fabric(device, precision)
        torch.manual_seed(recipe.seed)
        self.model = Harmonizer(recipe.model)
        self.average = Harmonizer(recipe.model)
        self.average.load_state_dict(self.model.state_dict())
        self.phase, self.step = 0, 0
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """Where training state is kept between runs."""
        return self.folder / "checkpoint.pt"

    def run(self, scans: Sequence[TrainingScan]) -> Harmonizer:
        """Train all phases (continuing a checkpoint if there is one) and return the averaged model."""
        train, held_out = split_subjects(scans, self.recipe.validation, self.recipe.seed)
        _write_split(self.folder / "split.tsv", train, held_out)
        self.model = self.model.to(self.fabric.device, memory_format=torch.channels_last_3d)
        self.average.to(self.fabric.device)
        optimizer = torch.optim.Adam(self.model.network.parameters(), lr=1e-4)
        self.network, optimizer = self.fabric.setup(self.model.network, optimizer)
        self._resume(optimizer)
        for index in range(self.phase, len(self.recipe.phases)):
            self.phase = index
            phase = self.recipe.phases[index]
            config = model_on_grid(self.recipe.model, phase.spacing)
            self.model.config = self.average.config = config
            cache = self.folder / "cache"
            self._run_phase(
                phase,
                VolumeCache([s for s in scans if s.subject in train], config, cache),
                VolumeCache([s for s in scans if s.subject in held_out], config, cache),
                optimizer,
            )
            self.step = 0
        self.phase = len(self.recipe.phases)
        self._save(optimizer)
        return self.average

    def _run_phase(
        self, phase: Phase, train: VolumeCache, held_out: VolumeCache, optimizer: torch.optim.Optimizer
    ) -> None:
        from tqdm import tqdm

        indices = order(train.scans, self.recipe.seed)
        for _ in range(self.step * phase.accumulate):
            next(indices)
        bar = tqdm(
            range(self.step, phase.steps), initial=self.step, total=phase.steps, desc=f"{phase.spacing:g} mm"
        )
        for step in bar:
            rate = learning_rate(phase, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            means = self._optimizer_step(train, indices, step, phase, optimizer)
            self._log(step, "train", rate, means)
            bar.set_postfix({name: f"{means[name]:.4f}" for name in ("noise", "gradient", "ema")})
            self.step = step + 1
            if self.step % self.recipe.validate_every == 0 or self.step == phase.steps:
                self._log(step, "validation", rate, self._validate(held_out))
                self._save(optimizer)

    def _optimizer_step(
        self,
        train: VolumeCache,
        indices: Iterator[int],
        step: int,
        phase: Phase,
        optimizer: torch.optim.Optimizer,
    ) -> dict[str, float]:
        sums = dict.fromkeys(COLUMNS[4:], 0.0)
        for part in range(phase.accumulate):
            volume = self._to_device(train[next(indices)])
            seed = draw_seed(self.recipe.seed, self.phase, step, part)
            losses = self._losses(volume, seed, update=True)
            self.fabric.backward(losses.total / phase.accumulate)
            for name in sums:
                sums[name] += float(getattr(losses, name).detach()) / phase.accumulate
        nn.utils.clip_grad_norm_(self.model.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._update_average()
        return sums

    def _losses(self, volume: Volume, seed: int, *, update: bool) -> Any:
        chosen = draw(volume, self.recipe, seed)
        device = self.fabric.device
        chosen = replace(
            chosen, t=chosen.t.to(device), noise=chosen.noise.to(device), unified=chosen.unified.to(device)
        )
        return stage1_losses(self.model, self.network, volume, chosen, self.recipe, update=update)

    @torch.no_grad()
    def _update_average(self) -> None:
        source = self.model.state_dict()
        for name, value in self.average.state_dict().items():
            if name.startswith("network."):
                value.lerp_(source[name], 1.0 - self.recipe.weight_average)
            else:  # the style records are averages already
                value.copy_(source[name])

    @torch.no_grad()
    def _validate(self, held_out: VolumeCache) -> dict[str, float]:
        """Mean losses on the held-out subjects with noise and timesteps that never change."""
        sums = dict.fromkeys(COLUMNS[4:], 0.0)
        for i in range(len(held_out)):
            losses = self._losses(
                self._to_device(held_out[i]), draw_seed(self.recipe.seed, -1 % 2**32, i), update=False
            )
            for name in sums:
                sums[name] += float(getattr(losses, name)) / len(held_out)
        return sums

    def _to_device(self, volume: Volume) -> Volume:
        device = self.fabric.device
        image = volume.image.to(device, memory_format=torch.channels_last_3d)
        return Volume(image, volume.mask.to(device), volume.sequence.to(device))

    def _log(self, step: int, split: str, rate: float, means: dict[str, float]) -> None:
        path = self.folder / "losses.tsv"
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t")
            if new:
                writer.writerow(COLUMNS)
            row = [self.phase, step, split, f"{rate:.3g}", *(f"{means[name]:.6f}" for name in COLUMNS[4:])]
            writer.writerow(row)

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "phase": self.phase,
            "step": self.step,
            "recipe": repr(asdict(self.recipe)),
        }
        partial = self.checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.fabric.device, weights_only=True)
        if state["recipe"] != repr(asdict(self.recipe)):
            logger.warning("%s was made by another recipe: training starts anew.", self.checkpoint)
            return
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        self.phase, self.step = state["phase"], state["step"]
        logger.info("Resuming in phase %d at step %d.", self.phase, self.step)


def _write_split(path: Path, train: set[str], held_out: set[str]) -> None:
    rows = [(s, "train") for s in sorted(train)] + [(s, "validation") for s in sorted(held_out)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter="\t").writerows([("participant_id", "split"), *rows])


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
