"""Structures that the tissue maps lack: eyes, airways, vertebrae, masticatory muscles, deep grey nuclei."""

from dataclasses import dataclass

import numpy as np

from bids_mmh.phantom.head.grid import HEAD, Float, Grid, refine
from bids_mmh.phantom.head.shapes import ellipsoid, ellipsoid_pair, union


@dataclass(frozen=True)
class Organs:
    """Signed distances in mm on the head grid, negative inside.

    Attributes:
        air: Sinuses, nose, mouth and throat.
        eyes: Vitreous bodies.
        orbits: Fat around the eyes.
        vertebrae: Bodies of the cervical vertebrae.
        facial_bones: Upper jaw, cheek bones and lower jaw.
        masticatory: Temporal and masseter muscles.
    """

    air: Float
    eyes: Float
    orbits: Float
    vertebrae: Float
    facial_bones: Float
    masticatory: Float


def deep_nuclei(grid: Grid) -> Float:
    """Compute the distance to thalamus, caudate, putamen and pallidum, drawn as ellipsoids.

    Args:
        grid: Grid in template space.

    Returns:
        Signed distance in mm on the grid, negative inside.
    """
    return np.minimum.reduce(
        [
            ellipsoid_pair(grid, (11, -18, 7), (12, 16, 10)),
            ellipsoid_pair(grid, (13, 13, 8), (8, 14, 13)),
            ellipsoid_pair(grid, (16, -5, 21), (7, 19, 8)),
            ellipsoid_pair(grid, (25, 3, 1), (10, 20, 13)),
            ellipsoid_pair(grid, (19, -4, -2), (8, 10, 8)),
        ]
    )


def _air(grid: Grid) -> Float:
    return np.minimum.reduce(
        [
            ellipsoid(grid, (0, 34, -32), (9, 14, 9)),
            ellipsoid_pair(grid, (8, 48, -34), (6, 18, 12)),
            ellipsoid_pair(grid, (10, 79, 2), (11, 5, 11)),
            ellipsoid_pair(grid, (28, 50, -62), (13, 15, 14)),
            ellipsoid_pair(grid, (5, 62, -58), (3, 34, 14)),
            ellipsoid(grid, (0, 6, -70), (10, 8, 28)),
            ellipsoid(grid, (0, 2, -108), (9, 7, 30)),
            ellipsoid(grid, (0, 46, -84), (20, 34, 3)),
            ellipsoid_pair(grid, (76, -22, -46), (14, 3.5, 3.5)),
        ]
    )


def _vertebrae(grid: Grid) -> Float:
    x, y, z = grid.axes()
    column = np.hypot(x, (y + 27) * 1.2) - 12
    disc = 7.0 - np.abs((z + 120) % 17 - 8.5)
    return np.maximum(np.maximum(column, z + 68), -disc)


def _facial_bones(grid: Grid) -> Float:
    upper = union(
        ellipsoid_pair(grid, (30, 60, -66), (18, 17, 16)), ellipsoid(grid, (0, 66, -76), (24, 14, 8))
    )
    arch = np.maximum(
        ellipsoid(grid, (0, 38, -104), (48, 46, 14)), -ellipsoid(grid, (0, 30, -104), (37, 40, 40))
    )
    cheek = ellipsoid_pair(grid, (58, 40, -50), (6, 22, 6))
    return np.minimum.reduce([upper, arch, cheek])


def _masticatory(grid: Grid) -> Float:
    return np.minimum(
        ellipsoid_pair(grid, (70, 18, -22), (13, 28, 34)), ellipsoid_pair(grid, (52, 24, -78), (9, 18, 28))
    )


def draw_organs() -> Organs:
    """Draw the structures at 2 mm and refine them to the head grid.

    Returns:
        Signed distances on ``HEAD``.
    """
    grid = HEAD.coarser(2.0)
    eyes = ellipsoid_pair(grid, (32, 64, -38), (12.5, 12.5, 12.5))
    drawn = (
        _air(grid),
        eyes,
        ellipsoid_pair(grid, (28, 50, -38), (19, 27, 18)),
        _vertebrae(grid),
        _facial_bones(grid),
        _masticatory(grid),
    )
    return Organs(*(refine(organ, HEAD.shape, 0.5) for organ in drawn))
