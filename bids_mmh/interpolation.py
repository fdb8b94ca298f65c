"""Linear interpolation along a line of cells as products of matrices, faster than splines of order 1."""

import numpy as np
from numpy.typing import NDArray


def linear_weights(points: int, cells: int, points_per_cell: float) -> NDArray[np.float32]:
    """Weights of cells at points; both lie in the middle of equal parts of a line that begins at one place.

    Args:
        points: number of points.
        cells: number of cells.
        points_per_cell: length of a cell in distances of points.

    Returns:
        Shape (points, cells), rows of sum 1. Beyond the middle of the outermost cells, their values go on.

    Examples:
        >>> linear_weights(4, 2, 2.0).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    places = np.clip((np.arange(points) + 0.5) / points_per_cell - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells))).astype(np.float32)
