import numpy as np
import pytest

from bids_mmh.reports.figures.canvas import Canvas, blue_to_red
from bids_mmh.reports.figures.mosaic import layout


@pytest.fixture
def placed():
    mask = np.zeros((20, 24, 16), bool)
    mask[2:-2, 2:-2, 2:-2] = True
    return layout(mask, (2.0, 2.0, 2.0))


def box(placed, canvas, number=0):
    tile = placed.tiles[number]
    return canvas.pixels[canvas._box(tile)][..., 0].astype(float)


def test_slices_lie_where_the_layout_puts_them_and_up_is_up(placed):
    canvas = Canvas(placed)
    _, y, _ = np.indices((20, 24, 16))
    canvas.slices(y.astype(float), window=(0, 23))
    drawn = box(placed, canvas)
    assert (np.diff(drawn.mean(axis=1)) <= 0).all()  # rows count from the top, y from the back
    assert np.ptp(drawn, axis=1).max() <= 1
    middle = drawn[len(drawn) // 2].mean() / 255 * 23
    window = placed.tiles[0].window[1]
    assert middle == pytest.approx((window.start + window.stop - 1) / 2, abs=0.3)


def test_what_lies_outside_keeps_the_background_and_does_not_leak(placed):
    canvas = Canvas(placed, background=255)
    values = np.full((20, 24, 16), 0.5)
    inside = np.zeros(values.shape, bool)
    inside[5:15, 5:15] = True
    values[~inside] = np.nan
    canvas.slices(np.nan_to_num(values, nan=1e6), window=(-1, 1), colours=blue_to_red(), inside=inside)
    colours = {tuple(pixel) for pixel in canvas.pixels.reshape(-1, 3)}
    assert colours == {(255, 255, 255), tuple(blue_to_red()[191])}


def test_a_contour_runs_where_the_level_is_crossed(placed):
    canvas = Canvas(placed)
    x = np.indices((20, 24, 16))[0].astype(np.float32)
    canvas.contours([tile.cut(x) for tile in placed.tiles], 9.5, "#ff0000")
    red = box(placed, canvas)
    columns = np.flatnonzero(red.max(axis=0) > 127)
    assert 1 <= len(columns) <= 4
    assert columns.mean() == pytest.approx((red.shape[1] - 1) / 2, abs=1.5)
    flat = Canvas(placed)
    flat.contours([tile.cut(np.zeros_like(x)) for tile in placed.tiles], 0.5, "#ff0000")
    assert flat.pixels.max() == 0
