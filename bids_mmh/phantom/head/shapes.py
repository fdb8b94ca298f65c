"""Signed distance functions (mm, negative inside) and operations on them."""

import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.head.grid import Float, Grid

Mask = NDArray[np.bool_]
Point = tuple[float, float, float]


def ellipsoid(grid: Grid, centre: Point, radii: Point) -> Float:
    """Compute the approximate signed distance to an ellipsoid.

    Args:
        grid: Grid in template space.
        centre: Centre, x, y, z in mm.
        radii: Semi-axes along x, y, z in mm.

    Returns:
        Signed distance in mm on the grid, negative inside.
    """
    x, y, z = ((axis - c) / r for axis, c, r in zip(grid.axes(), centre, radii, strict=True))
    return (np.sqrt(x * x + y * y + z * z) - 1) * np.float32(min(radii))


def ellipsoid_pair(grid: Grid, centre: Point, radii: Point) -> Float:
    """Compute the signed distance to an ellipsoid and its mirror image on the other side of the head.

    Args:
        grid: Grid in template space.
        centre: Centre of either, x, y, z in mm.
        radii: Semi-axes along x, y, z in mm.

    Returns:
        Signed distance in mm on the grid, negative inside.
    """
    x, y, z = centre
    return np.minimum(ellipsoid(grid, (x, y, z), radii), ellipsoid(grid, (-x, y, z), radii))


def union(*distances: Float, blend: float = 8.0) -> Float:
    """Compute the smooth union of shapes: surfaces blend into each other over ``blend`` mm.

    Args:
        distances: Signed distances in mm, all of one shape; one at least.
        blend: Width of the transition in mm.

    Returns:
        Signed distance in mm.
    """
    out = distances[0]
    for other in distances[1:]:
        mix = np.clip(0.5 + 0.5 * (out - other) / np.float32(blend), 0, 1)
        out = other * mix + out * (1 - mix) - np.float32(blend) * mix * (1 - mix)
    return out


def signed_distance(mask: Mask, spacing: float) -> Float:
    """Compute the signed distance to the border of a mask.

    Args:
        mask: Boolean volume.
        spacing: Voxel size in mm.

    Returns:
        Signed distance in mm, negative inside.
    """
    from scipy.ndimage import distance_transform_edt

    outside, inner = distance_transform_edt(~mask), distance_transform_edt(mask)
    return ((outside - inner) * spacing).astype(np.float32)


def closing(mask: Mask, spacing: float, radius: float) -> Float:
    """Compute the signed distance to the morphological closing of a mask with a ball.

    Args:
        mask: Boolean volume.
        spacing: Voxel size in mm.
        radius: Radius of the ball in mm.

    Returns:
        Signed distance in mm, negative inside.
    """
    # The dilated mask must not touch the edge of the array, or the edge would count as its inside.
    margin = int(np.ceil(radius / spacing)) + 2
    padded = np.pad(mask, margin)
    closed = signed_distance(signed_distance(padded, spacing) < radius, spacing) + np.float32(radius)
    return closed[(slice(margin, -margin),) * 3]


def inside(distance: Float, width: float = 1.0) -> Float:
    """Turn a signed distance into a volume fraction.

    Args:
        distance: Signed distance in mm, negative inside.
        width: Width of the transition in mm.

    Returns:
        1 inside, 0 outside, a linear ramp between.

    Examples:
        >>> inside(np.array([-2.0, 0.0, 0.25, 2.0], np.float32)).tolist()
        [1.0, 0.5, 0.25, 0.0]
    """
    return np.clip(0.5 - distance / np.float32(width), 0, 1)
