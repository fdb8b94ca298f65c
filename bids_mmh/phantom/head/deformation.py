"""The shape of one head relative to the template, and where the voxels of a scan lie in the template.

All transforms map points backwards, from the scan to the template: ``template = affine(scan)`` with nine
degrees of freedom, then ``template + displacement(template)``.
"""

import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.head.grid import HEAD, Float, Grid, refine, smooth_noise

DISPLACEMENT_GRID = HEAD.coarser(4.0)
"""Grid of displacement fields: fine enough, since they vary over 20 mm and more."""

Matrix = NDArray[np.float64]


def rigid(degrees: NDArray[np.float64], shift: NDArray[np.float64]) -> Matrix:
    """Make a rigid transform: rotations about x, y and z, then a translation.

    Args:
        degrees: Rotation angles in degrees, shape (3,).
        shift: Translation in mm, shape (3,).

    Returns:
        Homogeneous matrix, 4 x 4.

    Examples:
        >>> matrix = rigid(np.array([0.0, 0.0, 90.0]), np.array([10.0, 0.0, 0.0]))
        >>> np.round(matrix @ [1, 0, 0, 1]).tolist()
        [10.0, 1.0, 0.0, 1.0]
    """
    from scipy.spatial.transform import Rotation

    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    out[:3, 3] = shift
    return out


def scaling(factors: NDArray[np.float64]) -> Matrix:
    """Make a transform that scales x, y and z.

    Args:
        factors: Scale factors, shape (3,).

    Returns:
        Homogeneous matrix, 4 x 4.
    """
    return np.diag([*factors, 1.0])


def draw_displacement(rng: np.random.Generator, ventricles: Float, widening: float) -> Float:
    """Draw the non-linear part of a subject's shape.

    Args:
        rng: Random generator.
        ventricles: Distance to the ventricles in mm, on ``DISPLACEMENT_GRID``.
        widening: Outward displacement of the walls of the ventricles in mm (negative: inwards).

    Returns:
        Displacement in mm on ``DISPLACEMENT_GRID``, ``(3, x, y, z)``, without any affine part.
    """
    shape = DISPLACEMENT_GRID.shape
    field = np.stack(
        [
            2.4 * smooth_noise(rng, shape, 65 / DISPLACEMENT_GRID.spacing)
            + 0.8 * smooth_noise(rng, shape, 25 / DISPLACEMENT_GRID.spacing)
            for _ in range(3)
        ]
    )
    outwards = np.stack(np.gradient(ventricles, DISPLACEMENT_GRID.spacing))
    field -= widening * outwards * np.exp(-ventricles / 14)
    return _without_affine(field, DISPLACEMENT_GRID)


def _without_affine(field: Float, grid: Grid) -> Float:
    """Remove the affine part that fits the field best around the brain: the nine parameters stay exact."""
    x, y, z = np.broadcast_arrays(*grid.axes())
    brain = (x / 75) ** 2 + ((y + 17) / 92) ** 2 + ((z - 10) / 75) ** 2 < 1
    terms = np.stack([np.ones_like(x), x, y, z], axis=-1)
    fit, *_ = np.linalg.lstsq(terms[brain], field[:, brain].T, rcond=None)
    return (field - np.moveaxis(terms @ fit, -1, 0)).astype(np.float32)


def template_voxels(shape: tuple[int, int, int], to_template: Matrix, displacement: Float) -> Float:
    """Compute where each voxel of a scan lies on the head grid.

    Args:
        shape: Shape of the scan.
        to_template: Scan voxel indices to template space in mm, 4 x 4.
        displacement: From :func:`draw_displacement`.

    Returns:
        Coordinates in voxels of ``HEAD``, ``(3, *shape)``.
    """
    from scipy.ndimage import map_coordinates

    # Nodes on every fourth voxel are enough for an affine map plus a smooth field.
    step = 4
    nodes = np.stack(np.meshgrid(*(np.arange(0, n + step, step) for n in shape), indexing="ij"))
    points = np.tensordot(to_template[:3, :3], nodes, axes=1) + to_template[:3, 3, None, None, None]
    origin = np.asarray(HEAD.origin)[:, None, None, None]
    where = (points - origin) / DISPLACEMENT_GRID.spacing
    moved = [
        p + map_coordinates(d, where, order=3, mode="nearest")
        for p, d in zip(points, displacement, strict=True)
    ]
    voxels = ((np.stack(moved) - origin) / HEAD.spacing).astype(np.float32)
    return np.stack([refine(v, shape, 1 / step) for v in voxels])
