"""Anatomical change: what harmonization changed that is neither contrast nor field, as a map and a number.

Scanners differ in contrast and in slow fields. Both are, around any voxel, an affine function of intensity
(He et al. 2013, guided filter, doi:10.1109/TPAMI.2012.213). The residual of a change after the best local
affine function is something that appeared, vanished or moved; removed noise is in the residual as well,
and is averaged out over the size of a small lesion.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW_MM = 6.0  # standard deviation of the window of the local affine function
LESION_MM = 1.5  # standard deviation of the average over the residual
RIDGE = 1e-3  # variance (scaled units) below which a window has no contrast to explain a change by
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
        Signed scaled intensities that no local affine function of ``before`` explains, averaged over the size
        of a small lesion; 0 outside the brain.
    """
    inside = np.asarray(mask) != 0
    x, y = (np.where(inside, image, 0).astype(np.float32) for image in (before, after))
    weight = _smooth(inside.astype(np.float32), WINDOW_MM / spacing_mm)
    weight = np.maximum(weight, 1e-3)
    mean_x, mean_y, mean_xx, mean_xy = (
        _smooth(image, WINDOW_MM / spacing_mm) / weight for image in (x, y, x * x, x * y)
    )
    gain = (mean_xy - mean_x * mean_y) / (mean_xx - mean_x * mean_x + RIDGE)
    offset = mean_y - gain * mean_x
    # as in a guided filter, the coefficients of all windows that hold a voxel are averaged
    gain, offset = (_smooth(np.where(inside, v, 0), WINDOW_MM / spacing_mm) / weight for v in (gain, offset))
    rest = np.where(inside, y - gain * x - offset, 0)
    small = _smooth(inside.astype(np.float32), LESION_MM / spacing_mm)
    averaged = _smooth(rest, LESION_MM / spacing_mm) / np.maximum(small, 1e-3)
    return np.where(inside, averaged, 0).astype(np.float32)


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
