"""Averaging of a preprocessed scan onto a coarser grid of the same field of view, as training uses it."""

import numpy as np

from bids_mmh.preprocess.grid import Grid


def coarsen(values: np.ndarray, mask: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Average a scan over the voxels of a coarser grid.

    Args:
        values: Intensities, shape (X, Y, Z); those outside the mask do not count.
        mask: Boolean brain mask of the same shape.
        grid: The coarser grid; its voxel size is an integer multiple of the scan's.

    Returns:
        Mean intensity of the brain in each coarse voxel, float32, 0 outside; and the mask of the voxels that
        are more than half brain.

    Raises:
        ValueError: If the shapes do not fit.

    Examples:
        >>> values = np.arange(8.0).reshape(2, 2, 2)
        >>> mean, brain = coarsen(values, values > 1, Grid((1, 1, 1), 8.0))
        >>> mean.item(), brain.item()
        (4.5, True)
    """
    factor = values.shape[0] // grid.shape[0]
    if values.shape != mask.shape or tuple(side * factor for side in grid.shape) != values.shape:
        raise ValueError(f"a scan of shape {values.shape} cannot be averaged onto {grid.shape}")
    weight = _cell_sums(mask.astype(np.float32), factor)
    total = _cell_sums(np.where(mask, values, 0).astype(np.float32), factor)
    brain = weight > 0.5 * factor**3
    return np.where(brain, total / np.maximum(weight, 1), 0).astype(np.float32), brain


def _cell_sums(array: np.ndarray, factor: int) -> np.ndarray:
    x, y, z = (side // factor for side in array.shape)
    return np.asarray(array.reshape(x, factor, y, factor, z, factor).sum(axis=(1, 3, 5)))
