"""A run as a picture: which step ran when, in how many processes, and when sessions were finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.reports.figures.encode import encode

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_VECTORS = 2000  # more bars than that are drawn as pixels


@dataclass(frozen=True)
class Step:
    """One step of one session.

    Attributes:
        session: name of the session.
        name: name of the step, ``<step>_<scan>``.
        host: machine that it ran on.
        start: seconds since the run began.
        end: the same.
        threads: CPU threads that it may use.
        on_gpu: whether it used a GPU.
        memory_gb: peak memory of its process, None where it was not measured.
        failed: whether it failed.
    """

    session: str
    name: str
    host: str
    start: float
    end: float
    threads: int = 1
    on_gpu: bool = False
    memory_gb: float | None = None
    failed: bool = False

    @property
    def kind(self) -> str:
        """The step without the scan."""
        return self.name.partition("_")[0]


def lanes(steps: Sequence[Step]) -> list[int]:
    """Give steps that ran at the same time different lanes, as few as possible and apart for each machine.

    Args:
        steps: in any order.

    Returns:
        The number of each step's lane, from 0.

    Examples:
        >>> lanes([Step("a", "x", "", 0, 2), Step("a", "y", "", 1, 3), Step("a", "z", "", 2, 3)])
        [0, 1, 0]
    """
    free: list[tuple[str, float]] = []  # of each lane: its machine, and when its last step ended
    chosen = [0] * len(steps)
    for number in sorted(range(len(steps)), key=lambda n: (steps[n].host, steps[n].start)):
        step = steps[number]
        fitting = (
            lane for lane, (host, end) in enumerate(free) if host == step.host and end <= step.start + 1e-6
        )
        lane = next(fitting, len(free))
        free[lane : lane + 1] = [(step.host, step.end)]
        chosen[number] = lane
    return chosen


def timeline(steps: Sequence[Step]) -> bytes:
    """Draw the steps of a run over time.

    Args:
        steps: what was carried out.

    Returns:
        An SVG image: a row for each process with a bar for each step (a frame: on a GPU, a cross: failed),
        below it the sessions whose last step has ended, and the memory of the steps where it was measured.
    """
    from matplotlib.figure import Figure

    measured = any(step.memory_gb is not None for step in steps)
    rows = lanes(steps)
    count = max(rows, default=0) + 1
    heights = [max(1.2, 0.32 * count), 1.0] + [1.0] * measured
    figure = Figure(figsize=(11, sum(heights) + 1.2), layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    _draw_steps(panels[0], steps, rows)
    _draw_finished(panels[1], steps)
    if measured:
        _draw_memory(panels[2], steps)
    panels[-1].set_xlabel("seconds since the run began")
    return encode(figure, "svg")


def _draw_steps(axes: Axes, steps: Sequence[Step], rows: Sequence[int]) -> None:
    from matplotlib import colormaps

    kinds = sorted(
        {step.kind for step in steps}, key=lambda kind: min(s.start for s in steps if s.kind == kind)
    )
    colours = dict(zip(kinds, colormaps["tab20"](np.arange(len(kinds)) % 20), strict=True))
    for kind in kinds:
        own = [(step, row) for step, row in zip(steps, rows, strict=True) if step.kind == kind]
        axes.barh(
            [row for _, row in own],
            [step.end - step.start for step, _ in own],
            left=[step.start for step, _ in own],
            height=0.85,
            color=colours[kind],
            edgecolor=["black" if step.on_gpu else "white" for step, _ in own],
            linewidth=0.4,
            label=kind,
            rasterized=len(steps) > _VECTORS,
        )
    failed = [(step, row) for step, row in zip(steps, rows, strict=True) if step.failed]
    axes.plot([step.end for step, _ in failed], [row for _, row in failed], "kx")
    axes.set_yticks(range(max(rows, default=0) + 1))
    axes.set_ylabel("process")
    axes.invert_yaxis()
    if kinds:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, frameon=False)


def _draw_finished(axes: Axes, steps: Sequence[Step]) -> None:
    ends = {step.session: 0.0 for step in steps}
    for step in steps:
        ends[step.session] = max(ends[step.session], step.end)
    axes.step([0.0, *sorted(ends.values())], range(len(ends) + 1), where="post", color="black")
    axes.set_ylabel("sessions\nover")


def _draw_memory(axes: Axes, steps: Sequence[Step]) -> None:
    known = [step for step in steps if step.memory_gb is not None]
    changes = sorted(
        change
        for step in known
        for change in ((step.start, step.memory_gb), (step.end, -(step.memory_gb or 0)))
    )
    times, amounts = np.array(changes, dtype=float).T
    axes.fill_between(times, np.cumsum(amounts), step="post", color="#7aa6c2", linewidth=0)
    axes.set_ylabel("GB in all\nprocesses")
