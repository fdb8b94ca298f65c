"""Figures of the group page, each returned as an SVG image: sites side by side, before and after."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_mmh.reports.figures.encode import encode
from bids_mmh.reports.figures.scan import AFTER, BEFORE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS_WIDE = 4
ANNOTATED_SITES = 12
# Consecutive multiples of the golden ratio fill an interval evenly: jitter without a random seed.
GOLDEN = 0.6180339887498949


def site_histograms_figure(before: Mapping[str, ArrayLike], after: Mapping[str, ArrayLike]) -> bytes:
    """Draw the mean histogram of every site before and after, one panel per site.

    Args:
        before: Site to densities of shape (scans, bins) over [-1, 1]; the sites to draw, in their order.
        after: The same after harmonization; a site may be missing.

    Returns:
        An SVG image. The grey line, the same in every panel, is the mean over the sites before.
    """
    from matplotlib.figure import Figure

    columns = min(PANELS_WIDE, len(before))
    lines = math.ceil(len(before) / columns)
    figure = Figure(figsize=(2.75 * columns + 0.3, 1.75 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    average = np.mean([np.mean(np.asarray(curves), axis=0) for curves in before.values()], axis=0)
    centres = (np.arange(len(average)) + 0.5) * 2.0 / len(average) - 1.0
    for axes, (site, curves) in zip(panels, before.items(), strict=False):
        axes.plot(centres, average, color="#b5bcc6", lw=1.0, label="mean of all sites before")
        _mean_curve(axes, centres, np.asarray(curves), BEFORE, "before")
        if site in after:
            _mean_curve(axes, centres, np.asarray(after[site]), AFTER, "after")
        axes.set_title(f"{site}  (n = {len(np.asarray(curves))})", fontsize=9, loc="left")
        axes.set(xlim=(-1, 1), xticks=[-1, 0, 1], yticks=[])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for axes in panels[len(before) :]:
        axes.set_axis_off()
    panels[0].set_ylim(0, _common_top([*before.values(), *after.values()]))
    # The legend's entries come from a panel that has them all.
    fullest = max(panels[: len(before)], key=lambda axes: len(axes.lines))
    figure.legend(
        *fullest.get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False, fontsize=8
    )
    return encode(figure, "svg")


def site_matrix_figure(
    sites: Sequence[str], before: NDArray[np.float64], after: NDArray[np.float64] | None
) -> bytes:
    """Draw the site by site distances before and after on one colour scale.

    Args:
        sites: Site names.
        before: Distances of shape (sites, sites); NaN cells stay empty.
        after: The same after harmonization, or None.

    Returns:
        An SVG image.
    """
    from matplotlib.figure import Figure

    matrices = [("before", before)] + ([("after", after)] if after is not None else [])
    top = float(np.nanmax([np.nanmax(matrix) for _, matrix in matrices]))
    side = min(max(2.6, 0.45 * len(sites) + 1.4), 6.5)
    figure = Figure(figsize=(side * len(matrices) + 1.0, side), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (label, matrix) in zip(panels, matrices, strict=True):
        image = axes.imshow(matrix, vmin=0, vmax=top or 1.0, cmap="Blues")
        axes.set_title(label, fontsize=10)
        axes.set_xticks(range(len(sites)), sites, rotation=60, ha="right", fontsize=8, rotation_mode="anchor")
        axes.set_yticks(range(len(sites)), sites, fontsize=8)
        if len(sites) <= ANNOTATED_SITES:
            _write_cells(axes, matrix, top)
    figure.colorbar(image, ax=list(panels), shrink=0.8, label="Wasserstein distance")
    return encode(figure, "svg")


def site_strips_figure(
    quantities: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
) -> bytes:
    """Draw one point per scan for each site, before and after, with the medians.

    Args:
        quantities: Name of the quantity to site to (values before, values after); each may be empty.

    Returns:
        An SVG image: one panel per quantity.
    """
    from matplotlib.figure import Figure

    sites = list(next(iter(quantities.values())))
    figure = Figure(figsize=(11.5, min(max(2.4, 0.42 * len(sites) + 1.1), 14.0)), layout="constrained")
    panels = figure.subplots(1, len(quantities), sharey=True, squeeze=False)[0]
    for axes, (name, by_site) in zip(panels, quantities.items(), strict=True):
        for place, site in enumerate(sites):
            for values, offset, colour in zip(by_site[site], (-0.19, 0.19), (BEFORE, AFTER), strict=True):
                _strip(axes, np.asarray(values, dtype=np.float64), place + offset, colour)
        axes.set_yticks(range(len(sites)), sites, fontsize=9)
        axes.set(xlabel=name, ylim=(len(sites) - 0.5, -0.5))
        axes.grid(axis="x", color="#e6e9ed", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return encode(figure, "svg")


def _common_top(curves: Iterable[ArrayLike]) -> float:
    """Choose the shared height: a spike of one bin, such as clipped values, must not flatten the rest."""
    means = np.concatenate([np.mean(np.asarray(densities), axis=0) for densities in curves])
    return float(min(1.25 * np.percentile(means, 98.5), 1.05 * means.max())) or 1.0


def _mean_curve(axes: Axes, centres: NDArray[Any], curves: NDArray[Any], colour: str, label: str) -> None:
    axes.plot(centres, curves.mean(axis=0), color=colour, lw=1.4, label=label)
    if len(curves) > 2:
        low, high = np.percentile(curves, [10, 90], axis=0)
        axes.fill_between(centres, low, high, color=colour, alpha=0.15, lw=0)


def _write_cells(axes: Axes, matrix: NDArray[np.float64], top: float) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if math.isfinite(value):
            colour = "white" if value > 0.6 * top else "#1d2530"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=7, color=colour)


def _strip(axes: Axes, values: NDArray[np.float64], centre: float, colour: str) -> None:
    if values.size == 0:
        return
    jitter = (np.arange(values.size) * GOLDEN % 1.0 - 0.5) * 0.24
    # Thousands of points would be megabytes of SVG: they are drawn as one small image in it.
    axes.scatter(values, centre + jitter, s=9, color=colour, alpha=0.45, lw=0, rasterized=values.size > 50)
    middle = float(np.median(values))
    axes.plot([middle, middle], [centre - 0.17, centre + 0.17], color=colour, lw=2.2, solid_capstyle="butt")
