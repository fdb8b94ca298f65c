"""The Stage I training loop: phases, validation, checkpoints and how to continue from them."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.training.data import TrainingScan, Volume, VolumeCache, split_subjects
from bids_mmh.training.engine import make_fabric
from bids_mmh.training.objective import Losses, draw, stage1_losses
from bids_mmh.training.plan import draw_seed, learning_rate, order
from bids_mmh.training.recipe import Phase, Recipe, model_on_grid
from bids_mmh.training.tables import TERMS, LossTable, write_split

logger = logging.getLogger("bids_mmh.training")


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
        self.losses = LossTable(folder / "losses.tsv")

    @property
    def checkpoint(self) -> Path:
        """Where training state is kept between runs."""
        return self.folder / "checkpoint.pt"

    def run(self, scans: Sequence[TrainingScan]) -> Harmonizer:
        """Train all phases (continuing a checkpoint if there is one) and return the averaged model."""
        train, held_out = split_subjects(scans, self.recipe.validation, self.recipe.seed)
        write_split(self.folder / "split.tsv", train, held_out)
        self.model = self.model.to(self.fabric.device).to(memory_format=torch.channels_last_3d)
        self.average.to(self.fabric.device)
        optimizer = torch.optim.Adam(self.model.network.parameters(), lr=1e-4)
        self.network, optimizer = self.fabric.setup(self.model.network, optimizer)
        self._resume(optimizer)
        self.losses.forget_from((self.phase, self.step))
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
        self.model.config = self.average.config = self.recipe.model
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
            self.losses.append((self.phase, step), "train", rate, means)
            bar.set_postfix({name: f"{means[name]:.4f}" for name in ("noise", "gradient", "ema")})
            self.step = step + 1
            if self.step % self.recipe.validate_every == 0 or self.step == phase.steps:
                if len(held_out):
                    self.losses.append((self.phase, step), "validation", rate, self._validate(held_out))
                self._save(optimizer)

    def _optimizer_step(
        self,
        train: VolumeCache,
        indices: Iterator[int],
        step: int,
        phase: Phase,
        optimizer: torch.optim.Optimizer,
    ) -> dict[str, float]:
        sums = dict.fromkeys(TERMS, 0.0)
        for part in range(phase.accumulate):
            volume = train[next(indices)].to(self.fabric.device)
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

    def _losses(self, volume: Volume, seed: int, *, update: bool) -> Losses:
        chosen = draw(volume, self.recipe, seed).to(self.fabric.device)
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
        sums = dict.fromkeys(TERMS, 0.0)
        for i in range(len(held_out)):
            losses = self._losses(
                held_out[i].to(self.fabric.device), draw_seed(self.recipe.seed, -1 % 2**32, i), update=False
            )
            for name in sums:
                sums[name] += float(getattr(losses, name)) / len(held_out)
        return sums

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
