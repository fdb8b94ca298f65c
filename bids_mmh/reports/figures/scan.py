"""Figures of the subject page, each returned as an encoded image.

Brain images are WebP (they compress ten times better than PNG at a quality that shows no difference on
screen), curves are SVG. Only matplotlib's object interface is used: no global state changes, and pages can be
made in several threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_mmh.reports.figures.encode import encode
from bids_mmh.reports.figures.levels import outline_levels, robust_window
from bids_mmh.reports.figures.mosaic import Layout, annotate, canvas, layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY_WINDOW = (-1.0, 1.0)
OUTLINE = "#ff5d5d"
TISSUE_LINES = ("#ffd24a", "#35c9ff")
BEFORE, AFTER = "#9a5b13", "#1f5fa8"


def mosaic_figure(volume: NDArray[Any], mask: NDArray[Any], affine: NDArray[Any]) -> bytes:
    """Show a scaled volume in the fixed grey window [-1, 1].

    Args:
        volume: Scaled intensities, shape (x, y, z), RAS order.
        mask: Brain mask on the same grid; it chooses the slices and the field of view.
        affine: Voxel to world, (4, 4), RAS millimetres.

    Returns:
        A WebP image.
    """
    placed = layout(mask, _zooms(affine))
    figure = canvas(placed)
    _draw_slices(figure, placed, volume, window=GREY_WINDOW)
    annotate(figure, placed, affine)
    return encode(figure, "webp")


def difference_figure(
    before: NDArray[Any], after: NDArray[Any], mask: NDArray[Any], affine: NDArray[Any]
) -> bytes:
    """Map after minus before inside the mask, with a colour bar symmetric about zero.

    Args:
        before: Scaled intensities, shape (x, y, z), RAS order.
        after: The same after harmonization.
        mask: Brain mask on the same grid.
        affine: Voxel to world, (4, 4).

    Returns:
        A WebP image.
    """
    difference = np.asarray(after, np.float32) - np.asarray(before, np.float32)
    return _signed_map(difference, mask, affine, limit=_limit(difference, mask, 99))


def change_figure(change: NDArray[Any], mask: NDArray[Any], affine: NDArray[Any], *, limit: float) -> bytes:
    """Map an anatomical change inside the mask.

    Args:
        change: Scaled units, shape (x, y, z), RAS order.
        mask: Brain mask on the same grid.
        affine: Voxel to world, (4, 4).
        limit: What is shown in full colour, scaled units.

    Returns:
        A WebP image.
    """
    return _signed_map(np.asarray(change, np.float32), mask, affine, limit=limit)


def mask_outline_figure(image: NDArray[Any], mask: NDArray[Any], affine: NDArray[Any]) -> bytes:
    """Draw the outline of the brain mask on the native image, in the image's own grey range.

    Args:
        image: Native intensities, shape (x, y, z), axes in RAS order.
        mask: Brain mask on the same grid; non-zero is brain.
        affine: Voxel to world, (4, 4).

    Returns:
        A WebP image.
    """
    placed = layout(mask, _zooms(affine), margin=14.0)
    figure = canvas(placed)
    _draw_slices(figure, placed, image, window=robust_window(image))
    _draw_contours(figure, placed, np.asarray(mask) != 0, [0.5], [OUTLINE])
    annotate(figure, placed, affine)
    return encode(figure, "webp")


def edges_figure(
    image: NDArray[Any], reference: NDArray[Any], mask: NDArray[Any], affine: NDArray[Any]
) -> bytes:
    """Draw the outlines of a reference brain on an image of the same grid, to judge their registration.

    Args:
        image: Scaled intensities, shape (x, y, z), RAS order.
        reference: A brain-only T1w-like volume on the same grid: the template, or the same subject's T1w.
        mask: Brain mask of ``image``; slices and field of view cover it and the reference.
        affine: Voxel to world, (4, 4).

    Returns:
        A WebP image: the reference's outer outline, and its border of white matter.
    """
    from scipy.ndimage import gaussian_filter

    levels = outline_levels(reference)
    shown = (np.asarray(mask) != 0) | (np.asarray(reference) > levels[0] if levels else False)
    placed = layout(shown, _zooms(affine))
    figure = canvas(placed)
    _draw_slices(figure, placed, image, window=GREY_WINDOW)
    smooth = gaussian_filter(np.asarray(reference, np.float32), 1.3)
    _draw_contours(figure, placed, smooth, levels, TISSUE_LINES)
    annotate(figure, placed, affine)
    return encode(figure, "webp")


def bias_figure(field: NDArray[Any], mask: NDArray[Any], affine: NDArray[Any]) -> bytes:
    """Map a multiplicative bias field inside the brain, with a colour bar symmetric about 1.

    Args:
        field: What the scan was divided by, shape (x, y, z), axes in RAS order; about 1.
        mask: Brain mask on the same grid.
        affine: Voxel to world, (4, 4).

    Returns:
        A WebP image: blue where the scan was too dark, red where it was too bright.
    """
    change = np.asarray(field, np.float32) - 1
    return _signed_map(change, mask, affine, limit=_limit(change, mask, 99.5))


def _signed_map(
    values: NDArray[np.float32], mask: NDArray[Any], affine: NDArray[Any], *, limit: float
) -> bytes:
    """Map values inside a mask, blue below zero and red above, in full colour from ``limit`` on."""
    shown = np.where(np.asarray(mask) != 0, values, np.nan)
    placed = layout(mask, _zooms(affine), footer=2)
    figure = canvas(placed, background="white")
    _draw_slices(figure, placed, shown, window=(-limit, limit), colours="RdBu_r")
    annotate(figure, placed, affine, colour="#444444")
    _colour_bar(figure, limit)
    return encode(figure, "webp")


def _limit(values: NDArray[np.float32], mask: NDArray[Any], percentile: float) -> float:
    """A percentile keeps a few outliers from dominating the scale; the floor keeps rounding errors grey."""
    inside = np.asarray(mask) != 0
    return max(float(np.nanpercentile(np.abs(values[inside]), percentile)), 0.05) if inside.any() else 0.05


def histogram_figure(before: ArrayLike, after: ArrayLike | None) -> bytes:
    """Draw the intensity histograms before and after.

    Args:
        before: Density of shape (bins,) over [-1, 1].
        after: The same after harmonization, or None.

    Returns:
        An SVG image.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.5), layout="constrained")
    axes = figure.add_subplot()
    curves: Mapping[str, tuple[ArrayLike | None, str]] = {"before": (before, BEFORE), "after": (after, AFTER)}
    for label, (density, colour) in curves.items():
        if density is not None:
            heights = np.asarray(density, dtype=np.float64)
            axes.stairs(
                heights, np.linspace(*GREY_WINDOW, len(heights) + 1), color=colour, label=label, lw=1.4
            )
            axes.stairs(
                heights, np.linspace(*GREY_WINDOW, len(heights) + 1), color=colour, fill=True, alpha=0.12
            )
    axes.set(
        xlabel="scaled intensity inside the brain mask", ylabel="density", xlim=GREY_WINDOW, ylim=(0, None)
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return encode(figure, "svg")


def _zooms(affine: NDArray[Any]) -> tuple[float, float, float]:
    x, y, z = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    return float(x), float(y), float(z)


def _draw_slices(
    figure: Figure,
    placed: Layout,
    volume: NDArray[Any],
    *,
    window: tuple[float, float],
    colours: str = "gray",
) -> None:
    for tile in placed.tiles:
        figure.axes[0].imshow(
            tile.cut(volume).astype(np.float32),
            cmap=colours,
            vmin=window[0],
            vmax=window[1],
            origin="lower",
            extent=tile.extent,
            aspect="auto",
            interpolation="bilinear",
        )
    # imshow sets the limits to the last slice; reset them to the whole mosaic.
    figure.axes[0].set(xlim=(0, placed.width), ylim=(0, placed.height))


def _draw_contours(
    figure: Figure, placed: Layout, volume: NDArray[Any], levels: Sequence[float], colours: Sequence[str]
) -> None:
    for tile in placed.tiles:
        field = tile.cut(volume).astype(np.float32)
        shown = [
            (level, colour)
            for level, colour in zip(levels, colours, strict=False)
            if field.min() < level < field.max()
        ]
        if shown and min(field.shape) > 1:
            figure.axes[0].contour(
                *tile.centres(),
                field,
                levels=[s[0] for s in shown],
                colors=[s[1] for s in shown],
                linewidths=1.0,
            )


def _colour_bar(figure: Figure, limit: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = figure.add_axes((0.4, 0.008, 0.2, 0.012))
    bar = figure.colorbar(
        ScalarMappable(Normalize(-limit, limit), "RdBu_r"), cax=axes, orientation="horizontal"
    )
    bar.set_ticks([-limit, 0.0, limit], labels=[f"{-limit:.2f}", "0", f"{limit:.2f}"])
    axes.xaxis.set_ticks_position("top")
