"""The grid that heads are built on, and smooth fields on any grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """An axis-aligned grid in template space (RAS, mm).

    Attributes:
        shape: Number of voxels along x, y, z.
        origin: Centre of the first voxel in mm.
        spacing: Voxel size in mm, the same along the three axes.
    """

    shape: tuple[int, int, int]
    origin: tuple[float, float, float]
    spacing: float

    def axes(self) -> tuple[Float, Float, Float]:
        """Compute the coordinates of the voxels.

        Returns:
            x, y and z in mm, of shapes (x, 1, 1), (1, y, 1) and (1, 1, z), so that they broadcast.
        """
        x, y, z = (
            np.asarray(o + self.spacing * np.arange(n), np.float32)
            for o, n in zip(self.origin, self.shape, strict=True)
        )
        return x[:, None, None], y[None, :, None], z[None, None, :]

    def coarser(self, spacing: float) -> "Grid":
        """Make a grid of another spacing that starts at the same voxel.

        Args:
            spacing: Voxel size in mm.

        Returns:
            A grid that covers the same extent.

        Examples:
            >>> HEAD.coarser(4.0).shape
            (50, 60, 55)
        """
        shape = tuple(int(np.ceil(n * self.spacing / spacing)) for n in self.shape)
        return Grid((shape[0], shape[1], shape[2]), self.origin, spacing)


HEAD = Grid(shape=(200, 240, 220), origin=(-100.0, -127.0, -118.0), spacing=1.0)
"""Grid of the whole head at 1 mm: 200 x 240 x 220 voxels."""


def spline_weights(n_points: int, n_control: int) -> Float:
    """Evaluate the cubic B-spline basis at equidistant points.

    The knots are uniform: clamped ones would make random fields vary more at their ends.

    Args:
        n_points: Number of points.
        n_control: Number of control points, at least 4.

    Returns:
        Basis values, shape (n_points, n_control); rows sum to 1.
    """
    from scipy.interpolate import BSpline

    degree = 3
    knots = np.arange(-degree, n_control + 1, dtype=float)
    points = np.linspace(0, n_control - degree, n_points)
    return BSpline.design_matrix(points, knots, degree).toarray().astype(np.float32)


def linear_weights(n_points: int, n_coarse: int, ratio: float) -> Float:
    """Compute the weights of linear interpolation at multiples of a fraction of a voxel.

    Args:
        n_points: Number of points, at 0, ``ratio``, 2 ``ratio``, ...
        n_coarse: Number of coarse voxels.
        ratio: Distance of the points in coarse voxels.

    Returns:
        Weights, shape (n_points, n_coarse); rows sum to 1.

    Examples:
        >>> linear_weights(3, 2, 0.5).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    nodes = np.arange(n_coarse)
    points = np.minimum(np.arange(n_points)[:, None] * ratio, n_coarse - 1)
    return np.clip(1 - np.abs(points - nodes), 0, 1).astype(np.float32)


def separable(weights: tuple[Float, Float, Float], values: Float) -> Float:
    """Apply one matrix along each axis of a volume.

    Args:
        weights: Matrices of shapes (x, a), (y, b) and (z, c).
        values: Volume, shape (a, b, c).

    Returns:
        Volume, shape (x, y, z).
    """
    wx, wy, wz = weights
    out = np.tensordot(wx, values, axes=(1, 0))
    out = np.matmul(wy, out)
    return np.matmul(out, wz.T)


def refine(values: Float, shape: tuple[int, int, int], ratio: float) -> Float:
    """Interpolate a volume linearly onto a grid that is ``1 / ratio`` times as fine.

    Args:
        values: Volume on the coarse grid.
        shape: Shape of the fine grid.
        ratio: Voxel size of the fine grid in coarse voxels.

    Returns:
        Volume of the given shape.
    """
    wx, wy, wz = (linear_weights(n, m, ratio) for n, m in zip(shape, values.shape, strict=True))
    return separable((wx, wy, wz), values)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int, int], wavelength: float) -> Float:
    """Draw a smooth random field with zero mean and unit standard deviation.

    Args:
        rng: Random generator.
        shape: Shape of the field.
        wavelength: Distance of the spline's control points in voxels.

    Returns:
        The field, float32, of the given shape.
    """
    control = [max(4, round(n / wavelength) + 3) for n in shape]
    wx, wy, wz = (spline_weights(n, c) for n, c in zip(shape, control, strict=True))
    field = separable((wx, wy, wz), rng.standard_normal(control, dtype=np.float32))
    return (field - field.mean()) / field.std()
