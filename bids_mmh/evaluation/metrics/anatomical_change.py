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
"""Scaled units; scans above it are flagged. See ``benchmarks/anatomical_change.py`` for its calibration."""


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
    from scipy.ndimage import find_objects

    inside = np.asarray(mask) != 0
    change = np.zeros(inside.shape, np.float32)
    for box in find_objects(inside.astype(np.uint8)):  # none in an empty mask
        change[box] = _change_in_box(before[box], after[box], inside[box], spacing_mm)
    return change


def _change_in_box(
    before: NDArray[Any], after: NDArray[Any], inside: NDArray[np.bool_], spacing_mm: float
) -> NDArray[np.float32]:
    """The map within the bounding box of a mask."""
    x, y = (np.where(inside, image, 0).astype(np.float32) for image in (before, after))
    gain, offset = _local_contrast(x, y, inside.astype(np.float32), spacing_mm)
    rest = np.where(inside, y - gain * x - offset, 0)
    small = _smooth(inside.astype(np.float32), LESION_MM / spacing_mm)
    averaged = _smooth(rest, LESION_MM / spacing_mm) / np.maximum(small, 1e-3)
    return np.where(inside, averaged, 0).astype(np.float32)


def _local_contrast(
    x: NDArray[np.float32], y: NDArray[np.float32], inside: NDArray[np.float32], spacing_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset of the local affine function from x to y, both 0 outside the mask.

    The sums of a window are slow functions: means of blocks of a third of its width give them to a part in a
    thousand (the fast guided filter, He and Sun 2015, arXiv:1505.00996).
    """
    block = max(1, int(WINDOW_MM / 3 / spacing_mm))
    # the average over a block is itself a smoothing, by this variance in voxels
    sigma = np.sqrt((WINDOW_MM / spacing_mm) ** 2 - (block**2 - 1) / 12) / block
    sums = (_smooth(_block_means(image, block), sigma) for image in (inside, x, y, x * x, x * y))
    weight, *means = sums
    weight = np.maximum(weight, 1e-3)
    mean_x, mean_y, mean_xx, mean_xy = (mean / weight for mean in means)
    gain = (mean_xy - mean_x * mean_y) / (mean_xx - mean_x * mean_x + RIDGE)
    offset = mean_y - gain * mean_x
    # as in a guided filter, the coefficients of all windows that hold a voxel are averaged
    share = _block_means(inside, block)
    gain, offset = (_smooth(share * v, sigma) / weight for v in (gain, offset))
    return _enlarged(gain, block, x.shape), _enlarged(offset, block, x.shape)


def _block_means(image: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Means of cubes of voxels; what is beyond the image counts as 0."""
    padded = np.pad(image, [(0, -n % block) for n in image.shape])
    x, y, z = (n // block for n in padded.shape)
    return padded.reshape(x, block, y, block, z, block).mean(axis=(1, 3, 5))


def _enlarged(blocks: NDArray[np.float32], block: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate the means of blocks linearly at the voxels of an image."""
    from scipy.ndimage import zoom

    fine = zoom(blocks, block, order=1, mode="nearest", grid_mode=True)
    return fine[tuple(slice(n) for n in shape)]


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
