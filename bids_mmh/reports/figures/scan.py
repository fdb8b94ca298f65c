"""Figures of the subject page, each returned as an encoded image.

Brain images are WebP (they compress ten times better than PNG at a quality that shows no difference on
screen), curves are SVG. Neither needs matplotlib: a page costs less than its import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_mmh.reports.figures.canvas import Canvas, blue_to_red
from bids_mmh.reports.figures.levels import outline_levels, robust_window
from bids_mmh.reports.figures.mosaic import labels, layout

GREY_WINDOW = (-1.0, 1.0)
OUTLINE = "#ff5d5d"
TISSUE_LINES = ("#ffd24a", "#35c9ff")
BEFORE, AFTER = "#9a5b13", "#1f5fa8"
LIGHT, DARK = 200, 68  # greys of text on black and on white
SMOOTHING = 1.3  # voxels, of outlines
SAMPLE = 200_000  # voxels of a grid, enough for a percentile


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
    canvas = Canvas(placed)
    canvas.slices(volume, window=GREY_WINDOW)
    canvas.write(labels(placed, affine), LIGHT)
    return canvas.encode()


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
    canvas = Canvas(placed)
    canvas.slices(image, window=robust_window(image))
    canvas.contours([(tile.cut(mask) != 0).astype(np.float32) for tile in placed.tiles], 0.5, OUTLINE)
    canvas.write(labels(placed, affine), LIGHT)
    return canvas.encode()


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

    levels = outline_levels(np.asarray(reference)[::2, ::2, ::2])
    shown = (np.asarray(mask) != 0) | (np.asarray(reference) > levels[0] if levels else False)
    placed = layout(shown, _zooms(affine))
    canvas = Canvas(placed)
    canvas.slices(image, window=GREY_WINDOW)
    smooth = [gaussian_filter(tile.cut(reference).astype(np.float32), SMOOTHING) for tile in placed.tiles]
    for level, colour in zip(levels, TISSUE_LINES, strict=False):
        canvas.contours(smooth, level, colour)
    canvas.write(labels(placed, affine), LIGHT)
    return canvas.encode()


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
    inside = (np.asarray(mask) != 0) & np.isfinite(values)
    placed = layout(mask, _zooms(affine), footer=2)
    canvas = Canvas(placed, background=255)
    canvas.slices(values, window=(-limit, limit), colours=blue_to_red(), inside=inside)
    canvas.write(labels(placed, affine), DARK)
    canvas.colour_bar(limit, DARK)
    return canvas.encode()


def _limit(values: NDArray[np.float32], mask: NDArray[Any], percentile: float) -> float:
    """A percentile keeps a few outliers from dominating the scale; the floor keeps rounding errors grey."""
    step = max(1, int((values.size / SAMPLE) ** (1 / 3)))  # a brain fills a third of its grid, or less
    coarse = (slice(None, None, step),) * 3
    size = np.abs(values[coarse][np.asarray(mask)[coarse] != 0])
    return max(float(np.nanpercentile(size, percentile)), 0.05) if size.size else 0.05


def histogram_figure(before: ArrayLike, after: ArrayLike | None) -> bytes:
    """Draw the intensity histograms before and after.

    Args:
        before: Density of shape (bins,) over [-1, 1].
        after: The same after harmonization, or None.

    Returns:
        An SVG image.
    """
    from bids_mmh.reports.page import render

    curves: Mapping[str, tuple[ArrayLike | None, str]] = {"before": (before, BEFORE), "after": (after, AFTER)}
    drawn = [
        (label, np.asarray(density, dtype=np.float64), colour)
        for label, (density, colour) in curves.items()
        if density is not None
    ]
    top = max((float(heights.max()) for _, heights, _ in drawn), default=0.0) or 1.0
    shown = [(label, _steps(heights / top), colour) for label, heights, colour in drawn]
    return render("histogram.svg", {"curves": shown, "window": GREY_WINDOW, "top": top}).encode()


def _steps(heights: NDArray[np.float64]) -> str:
    """The outline of a histogram, from 0 at the left to 0 at the right, for ``points`` of a polyline.

    Args:
        heights: Shares of the plot's height, shape (bins,); coordinates are percent, 0 is the top.
    """
    edges = np.repeat(np.linspace(0, 100, len(heights) + 1), 2)
    levels = 100 - 95 * np.concatenate([[0.0], np.repeat(heights, 2), [0.0]])
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in zip(edges, levels, strict=True))


def _zooms(affine: NDArray[Any]) -> tuple[float, float, float]:
    x, y, z = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    return float(x), float(y), float(z)
