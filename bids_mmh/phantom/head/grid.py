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
        """Return x, y, z in mm, shaped to broadcast against each other."""
        x, y, z = (
            np.asarray(o + self.spacing * np.arange(n), np.float32)
            for o, n in zip(self.origin, self.shape, strict=True)
        )
        return x[:, None, None], y[None, :, None], z[None, None, :]

    def coarser(self, spacing: float) -> "Grid":
        """Return the grid of another spacing that starts at the same voxel."""
        shape = tuple(int(np.ceil(n * self.spacing / spacing)) for n in self.shape)
        return Grid((shape[0], shape[1], shape[2]), self.origin, spacing)


HEAD = Grid(shape=(200, 240, 220), origin=(-100.0, -127.0, -118.0), spacing=1.0)
"""Grid of the whole head at 1 mm: 200 x 240 x 220 voxels."""


def spline_weights(n_points: int, n_control: int) -> Float:
    """Return the ``(n_points, n_control)`` cubic B-spline basis on a regular line of points.

    The knots are uniform: clamped ones would make random fields vary more at their ends.
    """
    from scipy.interpolate import BSpline

    degree = 3
    knots = np.arange(-degree, n_control + 1, dtype=float)
    points = np.linspace(0, n_control - degree, n_points)
    return BSpline.design_matrix(points, knots, degree).toarray().astype(np.float32)


def linear_weights(n_points: int, n_coarse: int, ratio: float) -> Float:
    """Return the ``(n_points, n_coarse)`` weights of linear interpolation at multiples of ``ratio``."""
    nodes = np.arange(n_coarse)
    points = np.minimum(np.arange(n_points)[:, None] * ratio, n_coarse - 1)
    return np.clip(1 - np.abs(points - nodes), 0, 1).astype(np.float32)


def separable(weights: tuple[Float, Float, Float], values: Float) -> Float:
    """Apply one matrix per axis to ``values`` of shape ``(a, b, c)``."""
    wx, wy, wz = weights
    out = np.tensordot(wx, values, axes=(1, 0))
    out = np.matmul(wy, out)
    return np.matmul(out, wz.T)


def refine(values: Float, shape: tuple[int, int, int], ratio: float) -> Float:
    """Interpolate ``values`` linearly on a grid ``1 / ratio`` times as fine, of the given shape."""
    wx, wy, wz = (linear_weights(n, m, ratio) for n, m in zip(shape, values.shape, strict=True))
    return separable((wx, wy, wz), values)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int, int], wavelength: float) -> Float:
    """Draw a smooth random field with zero mean and unit standard deviation.

    Args:
        rng: Source of randomness.
        shape: Shape of the field.
        wavelength: Distance of the spline's control points in voxels.
    """
    control = [max(4, round(n / wavelength) + 3) for n in shape]
    wx, wy, wz = (spline_weights(n, c) for n, c in zip(shape, control, strict=True))
    field = separable((wx, wy, wz), rng.standard_normal(control, dtype=np.float32))
    return (field - field.mean()) / field.std()
