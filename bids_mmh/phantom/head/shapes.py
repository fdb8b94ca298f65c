"""Signed distances (mm, negative inside) and what can be drawn with them."""

import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.head.grid import Float, Grid

Mask = NDArray[np.bool_]
Point = tuple[float, float, float]


def ellipsoid(grid: Grid, centre: Point, radii: Point) -> Float:
    """Return the approximate signed distance in mm to an ellipsoid."""
    x, y, z = ((axis - c) / r for axis, c, r in zip(grid.axes(), centre, radii, strict=True))
    return (np.sqrt(x * x + y * y + z * z) - 1) * np.float32(min(radii))


def pair(grid: Grid, centre: Point, radii: Point) -> Float:
    """Return the signed distance to an ellipsoid and its mirror image on the other side of the head."""
    x, y, z = centre
    return np.minimum(ellipsoid(grid, (x, y, z), radii), ellipsoid(grid, (-x, y, z), radii))


def union(*distances: Float, blend: float = 8.0) -> Float:
    """Return the smooth union of signed distances; surfaces melt into each other over ``blend`` mm."""
    out = distances[0]
    for other in distances[1:]:
        mix = np.clip(0.5 + 0.5 * (out - other) / np.float32(blend), 0, 1)
        out = other * mix + out * (1 - mix) - np.float32(blend) * mix * (1 - mix)
    return out


def signed_distance(mask: Mask, spacing: float) -> Float:
    """Return the signed distance in mm to the border of a mask."""
    from scipy.ndimage import distance_transform_edt

    outside, inner = distance_transform_edt(~mask), distance_transform_edt(mask)
    return ((outside - inner) * spacing).astype(np.float32)


def closing(mask: Mask, spacing: float, radius: float) -> Float:
    """Return the signed distance in mm to a mask closed with a ball of ``radius`` mm."""
    # The dilated mask must not touch the edge of the array, or the edge would count as its inside.
    margin = int(np.ceil(radius / spacing)) + 2
    padded = np.pad(mask, margin)
    closed = signed_distance(signed_distance(padded, spacing) < radius, spacing) + np.float32(radius)
    return closed[(slice(margin, -margin),) * 3]


def inside(distance: Float, width: float = 1.0) -> Float:
    """Return the fraction inside a surface: 1 within, 0 outside, a ramp of ``width`` mm between."""
    return np.clip(0.5 - distance / np.float32(width), 0, 1)
