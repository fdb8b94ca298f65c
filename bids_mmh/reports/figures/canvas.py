"""Pixels of a mosaic: slices, contours and text, without matplotlib, whose start alone takes seconds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.interpolation import linear_weights
from bids_mmh.reports.figures.mosaic import Label, Layout, Tile

PIXELS_WIDE = 1280  # about a pixel for each mm of a mosaic
TEXT_PIXELS = 14
LINE_PIXELS = 1.3  # half of the width of a contour, with its soft edge
Colours = NDArray[np.uint8]

GREYS: Colours = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
# ColorBrewer's RdBu, from blue to red.
_RDBU = (
    *("053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7"),
    *("fddbc7", "f4a582", "d6604d", "b2182b", "67001f"),
)


def blue_to_red() -> Colours:
    """Make the colours of signed values.

    Returns:
        256 colours from blue by white to red, shape (256, 3).
    """
    stops = np.array([_rgb(colour) for colour in _RDBU], dtype=float)
    places = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(places, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


class Canvas:
    """The picture of a mosaic while it is drawn.

    Args:
        placed: The layout to draw in.
        background: Grey value behind the slices, 0 to 255.

    Attributes:
        pixels: Colours so far, (height, width, 3), top row first.
    """

    def __init__(self, placed: Layout, background: int = 0) -> None:
        self.placed = placed
        self._scale = PIXELS_WIDE / placed.width
        height = round(placed.height * self._scale)
        self.pixels = np.full((height, PIXELS_WIDE, 3), background, dtype=np.uint8)

    def slices(
        self,
        volume: NDArray[Any],
        *,
        window: tuple[float, float],
        colours: Colours = GREYS,
        inside: NDArray[np.bool_] | None = None,
    ) -> None:
        """Draw the slices of a volume, interpolated linearly.

        Args:
            volume: Volume on the mosaic's grid, shape (x, y, z).
            window: Values of the first and the last colour.
            colours: 256 colours.
            inside: Mask of the same shape; what lies outside keeps the background. None for everything.
        """
        low, high = window
        for tile in self.placed.tiles:
            box = self._box(tile)
            values = tile.cut(volume).astype(np.float32)
            chosen = None if inside is None else tile.cut(inside)
            if chosen is not None:
                values = np.where(chosen, values, 0)
            field, weight = self._field(values, box), None
            if chosen is not None:
                weight = self._field(chosen.astype(np.float32), box)
                field = field / np.maximum(weight, 1e-6)  # the outside must not pull the edge towards 0
            index = np.clip((field - low) * (255 / (high - low)) + 0.5, 0, 255).astype(np.uint8)
            if weight is not None:
                within = weight > 0.5
                self.pixels[box][within] = colours[index[within]]
            else:
                self.pixels[box] = colours[index]

    def contours(self, tiles: Sequence[NDArray[Any]], level: float, colour: str) -> None:
        """Draw the line where slices cross a level.

        Args:
            tiles: One slice for each tile of the layout, as :meth:`Tile.cut` gives it.
            level: The level.
            colour: Such as ``#ff5d5d``.
        """
        rgb = np.array(_rgb(colour.removeprefix("#")), dtype=np.float32)
        for tile, values in zip(self.placed.tiles, tiles, strict=True):
            if not values.min() < level < values.max():
                continue
            box = self._box(tile)
            field = self._field(np.asarray(values, np.float32), box)
            slope = np.hypot(*np.gradient(field))
            away = np.abs(field - level) / np.maximum(slope, 1e-6 * float(np.ptp(values)))  # in pixels
            near = away < LINE_PIXELS
            opacity = np.clip(LINE_PIXELS - away[near], 0, 1)[:, None]
            pixels = self.pixels[box]
            pixels[near] = (opacity * rgb + (1 - opacity) * pixels[near]).astype(np.uint8)

    def write(self, labels: Sequence[Label], grey: int) -> None:
        """Write texts.

        Args:
            labels: The texts with their places.
            grey: Their grey value, 0 to 255.
        """
        self._text([(self._place(label), label.text, label.anchor) for label in labels], grey)

    def colour_bar(self, limit: float, grey: int) -> None:
        """Draw the colours of signed values at the bottom, with their ends and the middle above.

        Args:
            limit: Value of the last colour.
            grey: Of the numbers.
        """
        height, width, _ = self.pixels.shape
        left, right, thick = int(0.4 * width), int(0.6 * width), 12
        bar = blue_to_red()[np.linspace(0, 255, right - left).astype(int)]
        self.pixels[height - thick - 6 : height - 6, left:right] = bar[None]
        above, middle = height - thick - 9, (left + right) / 2
        ends = ((left, f"{-limit:.2f}"), (middle, "0"), (right, f"{limit:.2f}"))
        self._text([((x, above), text, "mb") for x, text in ends], grey)

    def encode(self) -> bytes:
        """Encode the picture.

        Returns:
            A WebP image.
        """
        from PIL import Image

        target = io.BytesIO()
        Image.fromarray(self.pixels).save(target, format="webp", quality=82, method=0)
        return target.getvalue()

    def _text(self, texts: Sequence[tuple[tuple[float, float], str, str]], grey: int) -> None:
        """Write texts at pixels (x, y from the top), each with Pillow's name of its anchor."""
        from PIL import Image, ImageDraw, ImageFont

        image = Image.fromarray(self.pixels)
        pen, font = ImageDraw.Draw(image), ImageFont.load_default(TEXT_PIXELS)
        for place, text, anchor in texts:
            pen.text(place, text, fill=(grey,) * 3, font=font, anchor=anchor)
        self.pixels = np.array(image)

    def _place(self, label: Label) -> tuple[float, float]:
        return label.x * self._scale, len(self.pixels) - label.y * self._scale

    def _box(self, tile: Tile) -> tuple[slice, slice]:
        """Rows and columns of a tile, from the top."""
        left, right, bottom, top = (round(edge * self._scale) for edge in tile.extent)
        height = len(self.pixels)
        return slice(max(height - top, 0), height - bottom), slice(left, min(right, PIXELS_WIDE))

    @staticmethod
    def _field(values: NDArray[np.float32], box: tuple[slice, slice]) -> NDArray[np.float32]:
        """Interpolate a slice, lowest row first, at the pixels of a box, highest row first."""
        rows, columns = (part.stop - part.start for part in box)
        field = _linear(rows, values.shape[0]) @ values @ _linear(columns, values.shape[1]).T
        return np.asarray(field[::-1], dtype=np.float32)


@lru_cache(maxsize=64)  # the tiles of a row have one size, and so have those of the next figure
def _linear(pixels: int, voxels: int) -> NDArray[np.float32]:
    """Weights of the voxels of a line at the centres of as many pixels over the same length."""
    return linear_weights(pixels, voxels, pixels / voxels)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour))
