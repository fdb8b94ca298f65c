"""The training loop of both stages: steps, validation, checkpoints, and how a run goes on from one.

A :class:`~bids_mmh.training.loop.task.Task` says what is trained and what an item costs. The loop does the
rest, and does it so that the result depends neither on how often a run was interrupted nor, up to rounding,
on how many processes share it.
"""

import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from bids_mmh.errors import BadDataError, UsageError
from bids_mmh.training.data.loader import load
from bids_mmh.training.loop.checkpoint import load_checkpoint, save_checkpoint
from bids_mmh.training.loop.journal import Journal
from bids_mmh.training.loop.learning_rate import learning_rate
from bids_mmh.training.loop.task import Task, Validation
from bids_mmh.training.loop.weight_average import WeightAverages
from bids_mmh.training.processes import gather_in_order, shares
from bids_mmh.training.recipe import Phase
from bids_mmh.training.seeds import VALIDATION, draw_seed

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger("bids_mmh.training")

MAX_NORM = 1.0  # gradients are clipped to this norm


@dataclass(frozen=True)
class LoopSettings:
    """How a loop trains; see the fields of :class:`Recipe` of the same names."""

    phases: tuple[Phase, ...]
    seed: int
    weight_average: float
    validate_every: int
    patience: int = 0


class Loop:
    """Trains a task through its phases.

    Args:
        fabric: launched.
        task: what is trained.
        settings: how.
        folder: gets ``losses.tsv``, ``tensorboard/`` and ``checkpoint.pt``; seen by all processes.
        fingerprint: names everything that decides the result; a checkpoint of another one is not continued.
        workers: reading processes per device.

    Attributes:
        averages: the averaged modules (``loop.averages[name]``), after :meth:`run` what is to be saved.

    Raises:
        UsageError: there are more processes than volumes in a step.
    """

    def __init__(
        self,
        fabric: "Fabric",
        task: Task,
        settings: LoopSettings,
        folder: Path,
        *,
        fingerprint: str,
        workers: int = 0,
    ) -> None:
        fewest = min(phase.accumulate for phase in settings.phases)
        if fabric.world_size > fewest:
            raise UsageError(
                f"{fabric.world_size} processes cannot share steps of {fewest} volumes: "
                "use fewer, or raise accumulate in the recipe."
            )
        self.fabric, self.task, self.settings = fabric, task, settings
        self.folder, self.fingerprint, self.workers = folder, fingerprint, workers
        self.averages = WeightAverages(task.modules, settings.weight_average).to(fabric.device)
        parameters = [p for module in task.modules.values() for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=settings.phases[0].learning_rate)
        self.modules = {name: fabric.setup_module(module) for name, module in task.modules.items()}
        self.optimizer = cast(torch.optim.Optimizer, fabric.setup_optimizers(optimizer))
        self.phase, self.step = 0, 0
        self.best: dict[str, Any] | None = None
        self.stale = 0  # validations since the best one

    @property
    def checkpoint(self) -> Path:
        """Where the state of the run is kept."""
        return self.folder / "checkpoint.pt"

    def run(self) -> None:
        """Train to the end, from the checkpoint if there is one; then ``averages`` are to be saved."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        with self._journal() as journal:
            for phase in range(self.phase, len(self.settings.phases)):
                self.phase = phase
                self._run_phase(journal)
                self.phase, self.step = phase + 1, 0
        self._save()
        if self.best is not None:
            self.averages.load_state_dict(self.best["averages"])
            self.task.load_state_dict(self.best["task"])

    def _run_phase(self, journal: Journal | None) -> None:
        phase = self.settings.phases[self.phase]
        data = self.task.data(self.phase)
        if self.step == 0:
            self.best, self.stale = None, 0
        if journal is not None:
            journal.begin(self.phase, self.step)
        mine = shares(phase.accumulate, self.fabric)
        positions = [(step, part) for step in range(self.step, phase.steps) for part in mine]
        pin = self.fabric.device.type == "cuda"
        items = load(data.train, positions, workers=self.workers, pin=pin)
        while self.step < phase.steps:
            position, rate = (self.phase, self.step), learning_rate(phase, self.step)
            means = self._optimizer_step(items, rate)
            self.step += 1
            if journal is not None:
                journal.train(position, rate, means)
            if self.step % self.settings.validate_every == 0 or self.step == phase.steps:
                if len(data.validation):
                    means = self._validate(data.validation)
                    if journal is not None:
                        journal.validation(position, rate, means)
                    self._watch(means["total"])
                self._save()

    def _optimizer_step(self, items: Iterator[Any], rate: float) -> dict[str, float]:
        """One step over the parts of all processes; returns their mean losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        accumulate = self.settings.phases[self.phase].accumulate
        mine = shares(accumulate, self.fabric)
        done = []
        for part in mine:
            item = next(items).to(self.fabric.device)
            seed = draw_seed(self.settings.seed, self.phase, self.step, part)
            with self._synchronised(part == mine[-1]):
                losses, observed = self.task.losses(self.modules, item, seed)
                # gradients are averaged over processes: scale so that they are a mean over all parts
                self.fabric.backward(losses["total"] * (self.fabric.world_size / accumulate))
            done.append((part, ({name: loss.detach() for name, loss in losses.items()}, observed)))
        numbered = [(part, (_as_floats(losses), observed)) for part, (losses, observed) in done]
        everything = gather_in_order(self.fabric, numbered)
        means = self._means([losses for losses, _ in everything])
        self._descend()
        self.task.after_step([one for _, observed in everything for one in observed])
        return means

    def _descend(self) -> None:
        norm = self.fabric.clip_gradients(
            next(iter(self.modules.values())),  # the norm is that of all parameters of the optimizer
            self.optimizer,
            max_norm=MAX_NORM,
            error_if_nonfinite=False,
        )
        if self.fabric.strategy.precision.precision != "16-mixed":  # which skips such steps by itself
            self._require_finite(float(cast(Tensor, norm)), "norm of the gradient")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.averages.update(self.task.modules)

    @torch.no_grad()
    def _validate(self, items: Validation) -> dict[str, float]:
        """Mean losses of the averaged weights with noise and timesteps that never change."""
        modules = self.averages.for_validation(self.fabric)
        numbered = []
        for i in shares(len(items), self.fabric):
            item = items[i].to(self.fabric.device)
            losses, _ = self.task.losses(modules, item, draw_seed(self.settings.seed, VALIDATION, i))
            numbered.append((i, _as_floats(losses)))
        return self._means(gather_in_order(self.fabric, numbered))

    def _means(self, parts: Sequence[dict[str, float]]) -> dict[str, float]:
        names = ("total", *self.task.terms)
        means = {name: math.fsum(part[name] for part in parts) / len(parts) for name in names}
        self._require_finite(means["total"], "loss")
        return means

    def _require_finite(self, value: float, name: str) -> None:
        if not math.isfinite(value):
            raise BadDataError(
                f"The {name} is {value} in phase {self.phase} at step {self.step}: lower the learning rate, "
                "or look for a broken scan."
            )

    def _watch(self, total: float) -> None:
        """Keep the best average and end the phase when patience is out."""
        if not self.settings.patience:
            return
        if self.best is None or total < self.best["total"]:
            averages, task = self.averages.state_dict(), self.task.state_dict()
            self.best = copy.deepcopy({"total": total, "averages": averages, "task": task})
            self.stale = 0
            return
        self.stale += 1
        if self.stale >= self.settings.patience:
            if self.fabric.is_global_zero:
                logger.info("No better validation in %d: the phase ends at step %d.", self.stale, self.step)
            self.step = self.settings.phases[self.phase].steps

    def _synchronised(self, last: bool) -> ExitStack:
        """Exchange gradients between processes with the last part of a step only."""
        stack = ExitStack()
        for module in self.modules.values():
            stack.enter_context(self.fabric.no_backward_sync(module, enabled=not last))
        return stack

    def _journal(self) -> Journal | nullcontext[None]:
        if not self.fabric.is_global_zero:
            return nullcontext()
        return Journal(self.folder, self.task.terms, self.settings.phases, (self.phase, self.step))

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        state = {
            "modules": {name: module.state_dict() for name, module in self.task.modules.items()},
            "averages": self.averages.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "task": self.task.state_dict(),
            "best": self.best,
            "stale": self.stale,
            "phase": self.phase,
            "step": self.step,
        }
        save_checkpoint(self.checkpoint, state, self.fingerprint)

    def _resume(self) -> None:
        state = load_checkpoint(self.checkpoint, self.fingerprint, self.fabric.device)
        self.fabric.barrier()  # none may write a new one while another still reads
        if state is None:
            return
        for name, module in self.task.modules.items():
            module.load_state_dict(state["modules"][name])
        self.averages.load_state_dict(state["averages"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.task.load_state_dict(state["task"])
        self.best, self.stale = state["best"], state["stale"]
        self.phase, self.step = state["phase"], state["step"]
        if self.fabric.is_global_zero:
            logger.info("Resuming in phase %d at step %d.", self.phase, self.step)


def _as_floats(losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(loss) for name, loss in losses.items()}
