import numpy as np
import pytest


@pytest.fixture(scope="session")
def brain():
    """Scaled volume with a bright core in an ellipsoid mask, and the affine of its 2 mm grid."""
    grid = (np.indices((36, 46, 40)) - np.array([18, 23, 20])[:, None, None, None]) / 1.0
    radius = np.sqrt((grid[0] / 14) ** 2 + (grid[1] / 19) ** 2 + (grid[2] / 16) ** 2)
    mask = radius < 1
    volume = np.where(mask, np.where(radius < 0.6, 0.6, -0.2), -1.0).astype(np.float32)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-36, -46, -40]
    return volume, mask, affine
