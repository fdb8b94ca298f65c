"""What a run says while it goes on: table, TensorBoard, and a bar or a line now and then."""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from bids_mmh.training.loop.loss_table import LossTable
from bids_mmh.training.recipe import Phase

logger = logging.getLogger("bids_mmh.training")

QUIET_SECONDS = 60.0  # between the lines that stand for a bar where there is no terminal


class Journal:
    """Writer of one run; use as a context. Only the first process has one.

    Args:
        folder: gets ``losses.tsv`` and ``tensorboard/``.
        terms: names of the losses beside their total.
        phases: of the run.
        start: (phase, step) to begin at; what an interrupted run wrote from there on is dropped.
    """

    def __init__(
        self, folder: Path, terms: Sequence[str], phases: Sequence[Phase], start: tuple[int, int]
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.phases = phases
        self.table = LossTable(folder / "losses.tsv", terms)
        self.table.forget_from(start)
        self.board = SummaryWriter(folder / "tensorboard", purge_step=self._global_step(start))
        self.progress: Progress | None = None

    def __enter__(self) -> "Journal":
        """Begin to write."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the bar and flush TensorBoard's file."""
        if self.progress is not None:
            self.progress.close()
        self.board.close()

    def begin(self, phase: int, step: int) -> None:
        """Start the bar of a phase at a step."""
        if self.progress is not None:
            self.progress.close()
        self.progress = Progress(f"{self.phases[phase].spacing:g} mm", step, self.phases[phase].steps)

    def train(self, position: tuple[int, int], rate: float, means: Mapping[str, float]) -> None:
        """Note an optimizer step's mean losses."""
        self.table.append(position, "train", rate, means)
        step = self._global_step(position)
        for name, value in means.items():
            self.board.add_scalar(f"train/{name}", value, step)
        self.board.add_scalar("train/learning_rate", rate, step)
        if self.progress is not None:
            speed = self.progress.advance(means["total"], self.phases[position[0]].accumulate)
            self.board.add_scalar("train/volumes_per_second", speed, step)

    def validation(self, position: tuple[int, int], rate: float, means: Mapping[str, float]) -> None:
        """Note the mean losses on the validation subjects."""
        self.table.append(position, "validation", rate, means)
        for name, value in means.items():
            self.board.add_scalar(f"validation/{name}", value, self._global_step(position))

    def _global_step(self, position: tuple[int, int]) -> int:
        return sum(phase.steps for phase in self.phases[: position[0]]) + position[1]


class Progress:
    """Steps done, speed and time left: a bar in a terminal, elsewhere a line of log a minute."""

    def __init__(self, name: str, done: int, total: int) -> None:
        from tqdm import tqdm

        self.name, self.done, self.total, self.first = name, done, total, done
        self.bar = tqdm(
            initial=done, total=total, desc=name, unit="step", disable=not sys.stderr.isatty(), smoothing=0.1
        )
        self.started = self.stepped = self.said = time.monotonic()

    def advance(self, loss: float, volumes: int) -> float:
        """Take note of a step over some volumes and its total loss; returns volumes per second."""
        now = time.monotonic()
        speed = volumes / max(now - self.stepped, 1e-9)
        self.done += 1
        self.stepped = now
        self.bar.set_postfix({"total": f"{loss:.4f}", "volumes/s": f"{speed:.2f}"}, refresh=False)
        self.bar.update()
        if self.bar.disable and now - self.said > QUIET_SECONDS:
            self.said = now
            left = (now - self.started) / (self.done - self.first) * (self.total - self.done)
            logger.info(
                "%s: step %d of %d, total %.4f, %.2f volumes/s, %s left",
                *(self.name, self.done, self.total, loss, speed, timedelta(seconds=round(left))),
            )
        return speed

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()
