"""Intensity levels of an image: its grey-scale window, and the borders of its brain and its white matter."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def robust_window(image: NDArray[Any]) -> tuple[float, float]:
    """Choose the grey-scale window of an image with unknown units.

    Args:
        image: Intensities, shape (x, y, z).

    Returns:
        Its 1st and 99.5th percentile (of every third voxel along each axis, for speed).
    """
    sample = np.asarray(image)[::3, ::3, ::3].astype(np.float32)
    low, high = np.percentile(sample[np.isfinite(sample)], [1, 99.5])
    return float(low), float(high) if high > low else float(low) + 1.0


def outline_levels(reference: NDArray[Any]) -> list[float]:
    """Compute the intensities of a brain-only image at the borders of the brain and of its white matter.

    Args:
        reference: A brain-only volume on a constant background that is its minimum.

    Returns:
        Two ascending levels: a fifth of the way from the background to the brain's median, and Otsu's
        threshold within the brain. Empty for an image without a brain.
    """
    values = np.asarray(reference, dtype=np.float32)
    background, top = float(values.min()), float(np.percentile(values, 99.9))
    brain = values[values > background + 0.05 * (top - background)]
    if top <= background or brain.size == 0:
        return []
    outer = background + 0.2 * (float(np.median(brain)) - background)
    return [outer, max(_otsu(brain), outer + 1e-6)]


def _otsu(values: NDArray[np.float32]) -> float:
    """Otsu's threshold on 128 bins from minimum to maximum (ITK's histogram is a little wider)."""
    counts, edges = np.histogram(values, bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    moments = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = moments / below - (moments[-1] - moments) / above
    between = np.nan_to_num(below * above * gap**2)
    return float(edges[int(np.argmax(between)) + 1])
