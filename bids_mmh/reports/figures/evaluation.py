"""Figures of the evaluation: methods side by side, feature maps, travelling subjects, age."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIGHLIGHT, PLAIN, CONTROL = "#d62728", "#888888", "#0072b2"
# Okabe and Ito's colour-blind-safe palette, without the red of the target.
SITES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d31", "#444444")
MARKERS = "osD^vP*X"
GREY, DIFFERENCE = (-1.0, 1.0), 0.6
LEGEND_SITES = 24


class FeatureMap(NamedTuple):
    """Scans laid out in two dimensions.

    Attributes:
        points: Shape (scans, 2), or None for too few scans.
        inter_site: Mean distance of the sites' centroids in the features themselves.
        intra_site: Mean distance of the scans to their site's centroid there.
    """

    points: NDArray[np.float64] | None
    inter_site: float
    intra_site: float


def violins_figure(panels: Mapping[str, Mapping[str, Sequence[float]]], main: str | None, raw: str) -> Figure:
    """Draw one violin per method with every value as a point and the median as a line.

    Args:
        panels: Title of the panel to method to values; methods in the order of the tables.
        main: The method to highlight.
        raw: The method drawn in grey.

    Returns:
        A figure with one panel per metric.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    methods = list(dict.fromkeys(method for values in panels.values() for method in values))
    figure = Figure(figsize=(13, 1.0 + 0.36 * len(methods)), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, values) in zip(row, panels.items(), strict=True):
        for place, method in enumerate(methods):
            colour = HIGHLIGHT if method == main else PLAIN if method == raw else CONTROL
            draw_violin(axes, values.get(method, ()), place, colour)
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.grid(axis="x", lw=0.4)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title, fontsize=10)
    return figure


def draw_violin(axes: Axes, values: Sequence[float], place: int, colour: str) -> None:
    """Draw one horizontal violin with its points and its median.

    Args:
        axes: Axes to draw in.
        values: The values; those that are not finite are left out.
        place: Vertical position.
        colour: Colour of the violin and the points.
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return
    if finite.size > 1 and np.ptp(finite) > 0:
        drawn = axes.violinplot(finite, [place], orientation="horizontal", widths=0.8, showextrema=False)
        for body in drawn["bodies"]:  # type: ignore[attr-defined]  # one per data set, by its documentation
            body.set_facecolor(colour)
    many = finite.size > 50  # thousands of points would be megabytes of SVG
    axes.scatter(
        finite, np.full(finite.size, place), s=9, color=colour, lw=0, alpha=0.6, zorder=3, rasterized=many
    )
    axes.plot([np.median(finite)] * 2, [place - 0.35, place + 0.35], color="black", lw=1.2, zorder=4)


def feature_maps_figure(
    maps: Mapping[str, FeatureMap], sites: Sequence[str], target: str | None, labels: Sequence[str] | None
) -> Figure:
    """Draw scans by their features, one panel per method; colours are sites, crosses their centroids.

    Args:
        maps: Method to map, all of the same scans.
        sites: The site of each scan.
        target: The target site, drawn in red, or None.
        labels: A short text for each scan, such as the number of the subject, or None.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(maps), 5.0), layout="constrained")
    row = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (method, made) in zip(row, maps.items(), strict=True):
        draw_feature_map(axes, made, sites, target, labels)
        axes.set_title(
            f"{method}: between sites {made.inter_site:.2f}, within {made.intra_site:.2f}", fontsize=10
        )
    if len(set(sites)) <= LEGEND_SITES:
        found = row[0].get_legend_handles_labels()
        figure.legend(*found, loc="outside lower center", ncols=6, fontsize=9, frameon=False)
    return figure


def draw_feature_map(
    axes: Axes, made: FeatureMap, sites: Sequence[str], target: str | None, labels: Sequence[str] | None
) -> None:
    """Draw one map.

    Args:
        axes: Axes to draw in.
        made: The map.
        sites: The site of each scan.
        target: The target site, drawn in red, or None.
        labels: A short text for each scan, or None.
    """
    axes.set_xticks([])
    axes.set_yticks([])
    if made.points is None:
        axes.text(0.5, 0.5, "too few scans", ha="center", transform=axes.transAxes)
        return
    size, alpha = (150, 0.3) if labels else (28, 0.65)
    for site, (colour, marker) in site_styles(sorted(set(sites)), target).items():
        own = made.points[np.asarray(sites) == site]
        name = f"{site} (target)" if site == target else site
        axes.scatter(own[:, 0], own[:, 1], s=size, color=colour, marker=marker, alpha=alpha, lw=0, label=name)
        centre = own.mean(axis=0)
        axes.scatter(centre[0], centre[1], s=80, marker="x", color=colour)
    for point, text in zip(made.points, labels or (), strict=False):
        axes.text(point[0], point[1], text, ha="center", va="center", fontsize=8)
    axes.margins(0.1)


def site_styles(sites: Sequence[str], target: str | None) -> dict[str, tuple[str, str]]:
    """Choose a colour and a marker for each site; the target is red.

    Args:
        sites: Names of the sites.
        target: The target site, or None.

    Returns:
        Site to colour and marker.

    Examples:
        >>> site_styles(["A", "B"], "B")
        {'B': ('#d62728', 'o'), 'A': ('#0072b2', 'o')}
    """
    others = [site for site in sites if site != target]
    styles = {
        site: (SITES[place % len(SITES)], MARKERS[place // len(SITES) % len(MARKERS)])
        for place, site in enumerate(others)
    }
    return ({target: (HIGHLIGHT, "o")} if target in sites and target else {}) | styles


def pair_figure(
    images: Mapping[str, NDArray[Any]],
    others: Mapping[str, NDArray[Any]],
    reference: tuple[str, NDArray[Any]],
    mask: NDArray[np.bool_],
) -> Figure:
    """Show one scan after each method, the scan it is compared with, and the differences.

    Args:
        images: Title to scaled volume, shape (x, y, z).
        others: What each of them is compared with, under the same titles.
        reference: Title and volume of the last column.
        mask: Voxels inside both brains, shape (x, y, z); it chooses the slice.

    Returns:
        A figure with one column per image.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    columns = len(images) + 1
    figure = Figure(figsize=(1.55 * columns, 4.3), layout="constrained")
    top, bottom = figure.subplots(2, columns)
    level, crop = fullest_slice(mask)
    for above, below, (name, image) in zip(top, bottom, images.items(), strict=False):
        _bare(above, image[:, :, level][crop])
        above.set_title(name.replace(" ", "\n", 1), fontsize=9)
        difference = np.where(mask, image - others[name], 0)
        shown = difference[:, :, level][crop].T
        below.imshow(shown, origin="lower", cmap="RdBu_r", vmin=-DIFFERENCE, vmax=DIFFERENCE)
        below.set_xlabel(f"mean abs. {float(np.abs(difference[mask]).mean()):.3f}", fontsize=8)
        _no_frame(below)
    _bare(top[-1], reference[1][:, :, level][crop])
    top[-1].set_title(reference[0].replace(" ", "\n", 1), fontsize=9)
    bottom[-1].set_axis_off()
    bar = ScalarMappable(Normalize(-DIFFERENCE, DIFFERENCE), "RdBu_r")
    figure.colorbar(bar, cax=bottom[-1].inset_axes((0.1, 0.05, 0.12, 0.9)), label="difference")
    return figure


def visits_figure(rows: Mapping[str, Sequence[NDArray[Any]]], sites: Sequence[str], level: int) -> Figure:
    """Show one axial slice of one subject at every site: a row per method, a column per site.

    Args:
        rows: Method to scaled volumes in the order of the sites, all on one grid.
        sites: Titles of the columns.
        level: Index of the slice.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.9 * len(sites) + 0.5, 2.35 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(sites), squeeze=False)
    for line, (method, volumes) in zip(grid, rows.items(), strict=True):
        for axes, volume in zip(line, volumes, strict=True):
            _bare(axes, volume[:, :, level])
        line[0].set_ylabel(method, fontsize=10)
    for axes, site in zip(grid[0], sites, strict=True):
        axes.set_title(site, fontsize=10)
    return figure


def age_figure(ages: ArrayLike, ratios: Mapping[str, ArrayLike], correlations: Mapping[str, float]) -> Figure:
    """Plot the grey-matter ratio against age with a straight line, one panel per method.

    Args:
        ages: Age of each subject in years, shape (subjects,).
        ratios: Method to grey-matter ratios, shape (subjects,).
        correlations: Method to Pearson's r.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    years = np.asarray(ages, dtype=np.float64)
    figure = Figure(figsize=(4.6 * len(ratios), 3.2), layout="constrained")
    row = figure.subplots(1, len(ratios), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (method, values) in zip(row, ratios.items(), strict=True):
        ratio = np.asarray(values, dtype=np.float64)
        axes.scatter(years, ratio, s=16, alpha=0.6, lw=0, color=CONTROL, rasterized=years.size > 50)
        if np.ptp(years) > 0:
            ends = np.array([years.min(), years.max()])
            axes.plot(ends, np.polynomial.Polynomial.fit(years, ratio, 1)(ends), color="black", lw=1.2)
        axes.set_title(f"{method}: r = {correlations.get(method, math.nan):.2f}", fontsize=10)
        axes.set_xlabel("age, years")
        axes.spines[["top", "right"]].set_visible(False)
    row[0].set_ylabel("grey-matter ratio")
    return figure


def fullest_slice(mask: NDArray[np.bool_]) -> tuple[int, tuple[slice, slice]]:
    """Find the axial slice with most brain.

    Args:
        mask: Boolean brain mask, shape (x, y, z).

    Returns:
        Its index, and the bounding box of the brain in it.
    """
    level = int(mask.sum(axis=(0, 1)).argmax())
    across, along = (np.flatnonzero(mask[:, :, level].any(axis=axis)) for axis in (1, 0))
    return level, (slice(across[0], across[-1] + 1), slice(along[0], along[-1] + 1))


def _bare(axes: Axes, image: NDArray[Any]) -> None:
    axes.imshow(image.T, origin="lower", cmap="gray", vmin=GREY[0], vmax=GREY[1])
    _no_frame(axes)


def _no_frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
