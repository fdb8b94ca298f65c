"""Rows of axial, coronal and sagittal slices in one set of axes, in millimetres.

The convention is neurological: the image's left is the subject's left; sagittal slices look to the right.
Every mosaic of one volume and mask has the same layout, so that pages can overlay them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_mmh.bounding_box import bounding_box

COLUMNS = 6
# The outermost tenth of the brain shows little, and its outline is tiny.
FIRST, LAST = 0.12, 0.88
GAP_MM = 4.0
# Height of the text above a row, as a fraction of the mosaic's width: text has a fixed size in pixels.
HEADER = 0.0135


@dataclass(frozen=True)
class Tile:
    """One slice and its place in the mosaic.

    Attributes:
        axis: The array axis that the slice is perpendicular to: 0 sagittal, 1 coronal, 2 axial.
        index: Voxel index along ``axis``.
        window: Range of voxels shown along the two other axes.
        left: Left edge in the mosaic, mm.
        bottom: Bottom edge in the mosaic, mm.
        size: Width and height, mm.
    """

    axis: int
    index: int
    window: tuple[slice, slice]
    left: float
    bottom: float
    size: tuple[float, float]

    def cut(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Extract the slice from a volume.

        Args:
            volume: Volume on the mosaic's grid, shape (x, y, z).

        Returns:
            The slice, shape (height, width), lowest row first.
        """
        # A view: np.take would first copy the whole of a volume that is not contiguous.
        chosen: list[slice | int] = list(self.window)
        chosen.insert(self.axis, self.index)
        return np.asarray(volume[tuple(chosen)].T)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top in the mosaic, mm."""
        return (self.left, self.left + self.size[0], self.bottom, self.bottom + self.size[1])


class Label(NamedTuple):
    """A text in a mosaic.

    Attributes:
        text: The text.
        x: Where it stands, mm from the left.
        y: Likewise from the bottom.
        anchor: Which part of the text stands there, as Pillow names it: ``mb`` is the middle of the bottom.
    """

    text: str
    x: float
    y: float
    anchor: str


@dataclass(frozen=True)
class Layout:
    """Tiles of a mosaic and its outer size in millimetres."""

    tiles: tuple[Tile, ...]
    width: float
    height: float


def layout(
    mask: NDArray[Any], zooms: tuple[float, float, float], *, margin: float = 4.0, footer: int = 0
) -> Layout:
    """Place the slices that show the masked part of a volume.

    Args:
        mask: Brain mask, shape (x, y, z) in RAS order. An empty mask shows the whole volume.
        zooms: Voxel sizes in mm.
        margin: Width of the margin around the brain in mm.
        footer: Number of empty lines of text below the last row.

    Returns:
        Three rows of six equidistant slices: axial, coronal, sagittal from top to bottom.
    """
    spans = _spans(mask)
    window = [
        _widened(span, margin / zoom, n) for span, zoom, n in zip(spans, zooms, mask.shape, strict=True)
    ]
    size = [(w.stop - w.start) * zoom for w, zoom in zip(window, zooms, strict=True)]
    cell = max(size[0], size[1]) + GAP_MM
    header = HEADER * COLUMNS * cell
    height = 2 * size[2] + size[1] + (3 + footer) * header
    tiles: list[Tile] = []
    top = height
    for axis in (2, 1, 0):
        across, up = [other for other in range(3) if other != axis]
        top -= size[up] + header
        for column, index in enumerate(_indices(spans[axis])):
            left = column * cell + (cell - size[across]) / 2
            tiles.append(Tile(axis, index, (window[across], window[up]), left, top, (size[across], size[up])))
    return Layout(tuple(tiles), COLUMNS * cell, height)


def labels(placed: Layout, affine: NDArray[Any]) -> list[Label]:
    """Name the position of every slice above it, and the sides on the first of each row.

    Args:
        placed: The layout.
        affine: Voxel to world, (4, 4), RAS millimetres.

    Returns:
        The texts with their places.
    """
    named = []
    for tile, first in _with_row_starts(placed.tiles):
        # Slices of an oblique affine have no single coordinate: that of the centre is shown.
        centre = np.array([*(_middle(tile)), 1.0])
        position = f"{'xyz'[tile.axis]} = {round(float((affine @ centre)[tile.axis]))}"
        left, right, bottom, top = tile.extent
        named.append(Label(position, (left + right) / 2, top + 0.001 * placed.width, "mb"))
        if first:
            for letter, at, anchor in zip(
                ("PA" if tile.axis == 0 else "LR"), (left, right), ("lm", "rm"), strict=True
            ):
                named.append(Label(letter, at, (bottom + top) / 2, anchor))
    return named


def _middle(tile: Tile) -> list[float]:
    centres = [(window.start + window.stop - 1) / 2 for window in tile.window]
    centres.insert(tile.axis, float(tile.index))
    return centres


def _with_row_starts(tiles: tuple[Tile, ...]) -> Iterator[tuple[Tile, bool]]:
    return ((tile, number % COLUMNS == 0) for number, tile in enumerate(tiles))


def _spans(mask: NDArray[Any]) -> list[tuple[int, int]]:
    box = bounding_box(mask) or tuple(slice(0, length) for length in mask.shape)
    return [(part.start, part.stop - 1) for part in box]


def _widened(span: tuple[int, int], voxels: float, length: int) -> slice:
    grow = int(np.ceil(voxels))
    return slice(max(span[0] - grow, 0), min(span[1] + grow + 1, length))


def _indices(span: tuple[int, int]) -> list[int]:
    positions = np.linspace(FIRST, LAST, COLUMNS) * (span[1] - span[0]) + span[0]
    return [int(position) for position in np.round(positions)]
