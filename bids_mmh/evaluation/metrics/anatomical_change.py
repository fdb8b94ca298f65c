"""Anatomical change: what harmonization changed that is neither contrast nor field, as a map and a number.

Scanners differ in contrast and in slow fields. Both are, around any voxel, a smooth curve of intensity: an
affine one as in a guided filter (He et al. 2013, doi:10.1109/TPAMI.2012.213) does not suffice, because the
curve has another slope below grey matter than above; a parabola does. The residual of a change after the
best local parabola is something that appeared, vanished or moved; removed noise is in the residual as well,
and is averaged out over the size of a small lesion.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.bounding_box import bounding_box
from bids_mmh.interpolation import linear_weights

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
    if (box := bounding_box(inside)) is not None:
        change[box] = _change_in_box(before[box], after[box], inside[box], spacing_mm)
    return change


def _change_in_box(
    before: NDArray[Any], after: NDArray[Any], inside: NDArray[np.bool_], spacing_mm: float
) -> NDArray[np.float32]:
    """The map within the bounding box of a mask."""
    x, y = (np.where(inside, image, 0).astype(np.float32) for image in (before, after))
    offset, slope, bend = _local_contrast(x, y, inside.astype(np.float32), spacing_mm)
    rest = np.where(inside, y - offset - slope * x - bend * x * x, 0)
    small = _smooth(inside.astype(np.float32), LESION_MM / spacing_mm)
    averaged = _smooth(rest, LESION_MM / spacing_mm) / np.maximum(small, 1e-3)
    return np.where(inside, averaged, 0).astype(np.float32)


def _local_contrast(
    x: NDArray[np.float32], y: NDArray[np.float32], inside: NDArray[np.float32], spacing_mm: float
) -> list[NDArray[np.float32]]:
    """Coefficients of 1, x and x² of the local parabola from x to y; both are 0 outside the mask.

    The sums of a window are slow functions: means of blocks of a third of its width give them to a part in a
    thousand (the fast guided filter, He and Sun 2015, arXiv:1505.00996).
    """
    block = max(1, int(WINDOW_MM / 3 / spacing_mm))
    # the average over a block is itself a smoothing, by this variance in voxels
    sigma = np.sqrt((WINDOW_MM / spacing_mm) ** 2 - (block**2 - 1) / 12) / block
    share = _block_means(inside, block)
    weight = np.maximum(_smooth(share, sigma), 1e-3)
    square = x * x
    moments = (x, square, square * x, square * square, y, x * y, square * y)
    means = [_smooth(_block_means(moment, block), sigma) / weight for moment in moments]
    # as in a guided filter, the coefficients of all windows that hold a voxel are averaged
    averaged = (_smooth(share * coefficient, sigma) / weight for coefficient in _parabola(means))
    return [_enlarged(coefficient, block, x.shape) for coefficient in averaged]


def _parabola(means: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], ...]:
    """Ridge regression of y on x and x², from the means of x, x², x³, x⁴, y, xy and x²y around each place."""
    x, x_2, x_3, x_4, y, x_y, x_2_y = means
    var_x, var_square = x_2 - x * x + RIDGE, x_4 - x_2 * x_2 + BEND_RIDGE
    covariance, with_x, with_square = x_3 - x * x_2, x_y - x * y, x_2_y - x_2 * y
    determinant = np.maximum(var_x * var_square - covariance * covariance, RIDGE * BEND_RIDGE)
    slope = (var_square * with_x - covariance * with_square) / determinant
    bend = (var_x * with_square - covariance * with_x) / determinant
    return y - slope * x - bend * x_2, slope, bend


def _block_means(image: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Means of cubes of voxels; what is beyond the image counts as 0."""
    padded = np.pad(image, [(0, -n % block) for n in image.shape])
    x, y, z = (n // block for n in padded.shape)
    return padded.reshape(x, block, y, block, z, block).mean(axis=(1, 3, 5))


def _enlarged(blocks: NDArray[np.float32], block: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate the means of blocks linearly at the voxels of an image."""
    x, y, z = (linear_weights(side, count, block) for side, count in zip(shape, blocks.shape, strict=True))
    rows = np.tensordot(x, blocks, axes=1)
    return np.asarray((y @ rows) @ z.T)


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
