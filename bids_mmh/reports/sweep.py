"""A sweep over depth, inversion and sampling steps: heat maps, and a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.reports.figures.encode import encode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from bids_mmh.training.sweep.depth_sweep import SamplingSetting, SettingMetrics

Setting = tuple[int, int, int]
"""Depth, T_f, T_r."""

CHOSEN = "#d1495b"


def sweep_figure(quantities: Mapping[str, Mapping[Setting, float]], chosen: Setting) -> bytes:
    """Draw a heat map T_f × T_r for each quantity (rows) and depth (columns).

    Args:
        quantities: Name to setting to value; the settings are the same for each.
        chosen: The setting whose cell is framed.

    Returns:
        A PNG image. One colour scale for each quantity; combinations that were not tried stay empty.
    """
    from matplotlib.figure import Figure

    settings = sorted(next(iter(quantities.values())))
    depths, inversion, sampling = (sorted({one[axis] for one in settings}) for axis in range(3))
    wide, high = len(sampling) * 0.55 + 0.9, len(inversion) * 0.42 + 0.9
    figure = Figure(
        figsize=(max(3.5, wide * len(depths) + 1.2), high * len(quantities) + 0.4), layout="constrained"
    )
    panels = figure.subplots(len(quantities), len(depths), squeeze=False)
    for row, (name, values) in zip(panels, quantities.items(), strict=True):
        low, top = min(values.values()), max(values.values())
        for axes, depth in zip(row, depths, strict=True):
            table = np.array([[values.get((depth, f, r), np.nan) for r in sampling] for f in inversion])
            image = axes.imshow(table, vmin=low, vmax=top, cmap="viridis", origin="lower", aspect="auto")
            _write_values(axes, table, low, top)
            axes.set_title(f"{name}, depth {depth}", fontsize=9)
            axes.set_xticks(range(len(sampling)), [str(n) for n in sampling], fontsize=8)
            axes.set_yticks(range(len(inversion)), [str(n) for n in inversion], fontsize=8)
            axes.set_xlabel("sampling steps $T_r$", fontsize=8)
            axes.set_ylabel("inversion steps $T_f$", fontsize=8)
            if depth == chosen[0]:
                _frame(axes, sampling.index(chosen[2]), inversion.index(chosen[1]))
        figure.colorbar(image, ax=list(row), label=name)
    return encode(figure, "png")


def sweep_markdown(
    before: SettingMetrics, results: Sequence[tuple[SamplingSetting, SettingMetrics]], best: SamplingSetting
) -> str:
    """Write the results of a sweep as a Markdown table.

    Args:
        before: Metrics of the scans before harmonization.
        results: Settings with their metrics.
        best: The setting to set in bold.

    Returns:
        The table: the scans before harmonization, then a row per setting.
    """
    lines = [
        "| depth | T_f | T_r | inter-site WD | SSIM | anatomy |",
        "|---|---|---|---|---|---|",
        _line(["before", "", "", *_digits(before)]),
    ]
    for setting, metrics in results:
        cells = [*map(str, astuple(setting)), *_digits(metrics)]
        lines.append(_line([f"**{cell}**" for cell in cells] if setting == best else cells))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _digits(metrics: SettingMetrics) -> list[str]:
    return [f"{value:.4f}" for value in astuple(metrics)]


def _write_values(axes: Axes, table: NDArray[np.float64], low: float, top: float) -> None:
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            colour = "black" if value > (low + top) / 2 else "white"
            text = f"{value:.3f}".removeprefix("0")
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def _frame(axes: Axes, column: int, row: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=CHOSEN, lw=2.5))
