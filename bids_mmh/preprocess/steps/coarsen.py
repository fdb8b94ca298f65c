"""A preprocessed scan on a coarser grid of the same box, as training sees it."""

import numpy as np

from bids_mmh.preprocess.grid import Grid


def coarsen(values: np.ndarray, mask: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Average a scan over the cells of a coarser grid.

    Args:
        values: (X, Y, Z) intensities; what is outside the mask does not count.
        mask: boolean brain mask of the same shape.
        grid: the coarser grid, whose voxels are whole numbers of the scan's along each side.

    Returns:
        Mean intensity of the brain in each cell, float32, 0 outside; and the mask of the cells that are more
        than half brain.

    Raises:
        ValueError: The shapes do not fit.
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
