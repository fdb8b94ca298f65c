"""Anatomical change: what harmonization changed that is neither contrast nor field, as a map and a number.

Scanners differ in contrast and in slow fields. Both are, around any voxel, a smooth curve of intensity: an
affine one as in a guided filter (He et al. 2013, doi:10.1109/TPAMI.2012.213) does not suffice, because the
curve has another slope below grey matter than above; a parabola does. The residual of a change after the
best local parabola is something that appeared, vanished or moved; removed noise is in the residual as well,
and is averaged out over the size of a small lesion.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW_MM = 6.0  # standard deviation of the window of the local parabola
LESION_MM = 1.5  # standard deviation of the average over the residual
RIDGE = 1e-3  # variance (scaled units) below which a window has no contrast to explain a change by
BEND_RIDGE = 1e-2  # of the same for the square: a lesion of its own intensity is not to bend the curve
HIGHEST = 99.99  # percentile of the map that is a scan's number: what lies beyond is 0.15 ml of a brain
THRESHOLD = 0.12
"""Scaled units; scans above it are flagged. ``benchmarks/method/anatomical_change.py`` calibrates it."""


def anatomical_change_map(
    before: NDArray[Any], after: NDArray[Any], mask: NDArray[Any], *, spacing_mm: float = 1.0
) -> NDArray[np.float32]:
    """Map what changed beyond contrast and field.

    Args:
        before: Scaled intensities of the preprocessed scan, shape (x, y, z).
        after: Scaled intensities of the harmonized scan, same shape.
        mask: Brain mask of the same shape; non-zero is brain.
        spacing_mm: Voxel size in mm.

    Returns:
        Signed scaled intensities that no local parabola of ``before`` explains, averaged over the size
        of a small lesion; 0 outside the brain.
    """
    inside = np.asarray(mask) != 0
    change = np.zeros(inside.shape, np.float32)
    if inside.any():
        box = _box(inside)
        change[box] = _residual(before[box], after[box], inside[box], spacing_mm)
    return change


def _box(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box around the brain."""
    from scipy.ndimage import find_objects

    box: tuple[slice, ...] = find_objects(inside.astype(np.uint8))[0]
    return box


def _residual(
    before: NDArray[Any], after: NDArray[Any], inside: NDArray[np.bool_], spacing_mm: float
) -> NDArray[np.float32]:
    """What the local parabolas leave, averaged over the size of a small lesion."""
    x, y = (np.where(inside, image, 0).astype(np.float32) for image in (before, after))
    weight = np.maximum(_smooth(inside.astype(np.float32), WINDOW_MM / spacing_mm), 1e-3)

    def mean(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return _smooth(np.where(inside, image, 0), WINDOW_MM / spacing_mm) / weight

    # as in a guided filter, the coefficients of all windows that hold a voxel are averaged
    offset, slope, bend = (mean(coefficient) for coefficient in _parabola(x, y, mean))
    rest = np.where(inside, y - offset - slope * x - bend * x * x, 0)
    small = _smooth(inside.astype(np.float32), LESION_MM / spacing_mm)
    averaged = _smooth(rest, LESION_MM / spacing_mm) / np.maximum(small, 1e-3)
    return np.where(inside, averaged, 0).astype(np.float32)


def _parabola(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    mean: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> tuple[NDArray[np.float32], ...]:
    """Coefficients of 1, x and x² that predict y best in the window around each voxel (ridge regression)."""
    square = x * x
    mean_x, mean_y, mean_square = mean(x), mean(y), mean(square)
    var_x = mean_square - mean_x**2 + RIDGE
    covariance = mean(square * x) - mean_x * mean_square
    var_square = mean(square**2) - mean_square**2 + BEND_RIDGE
    x_y = mean(x * y) - mean_x * mean_y
    square_y = mean(square * y) - mean_square * mean_y
    determinant = np.maximum(var_x * var_square - covariance**2, RIDGE * BEND_RIDGE)
    slope = (var_square * x_y - covariance * square_y) / determinant
    bend = (var_x * square_y - covariance * x_y) / determinant
    return mean_y - slope * mean_x - bend * mean_square, slope, bend


def anatomical_change(change: NDArray[Any], mask: NDArray[Any]) -> float:
    """Summarise the map of a scan by a high percentile of its magnitude.

    Args:
        change: From :func:`anatomical_change_map`, shape (x, y, z).
        mask: Brain mask of the same shape.

    Returns:
        The anatomical change in scaled units.
    """
    return float(np.percentile(np.abs(change[np.asarray(mask) != 0]), HIGHEST))


def _smooth(image: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, sigma, mode="constant", truncate=2.5), dtype=np.float32)
