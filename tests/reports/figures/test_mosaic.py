from itertools import pairwise

import numpy as np
import pytest

from bids_mmh.reports.figures.mosaic import COLUMNS, labels, layout

ZOOMS = (1.0, 2.0, 3.0)


@pytest.fixture
def mask():
    mask = np.zeros((20, 24, 16), bool)
    mask[4:15, 6:20, 3:13] = True
    return mask


def test_rows_are_axial_coronal_sagittal_from_the_top(mask):
    tiles = layout(mask, ZOOMS).tiles
    assert [tile.axis for tile in tiles] == [2] * COLUMNS + [1] * COLUMNS + [0] * COLUMNS
    bottoms = [tiles[row * COLUMNS].bottom for row in range(3)]
    assert bottoms == sorted(bottoms, reverse=True)


def test_slices_lie_inside_the_brain_and_sizes_are_millimetres(mask):
    placed = layout(mask, ZOOMS, margin=2.0)
    for tile in placed.tiles:
        assert np.take(mask, tile.index, axis=tile.axis).any()
    axial = placed.tiles[0]
    assert axial.window == (slice(2, 17), slice(5, 21))
    assert axial.size == (15 * 1.0, 16 * 2.0)


def test_tiles_do_not_overlap_and_fit(mask):
    placed = layout(mask, ZOOMS)
    for row in range(3):
        extents = [tile.extent for tile in placed.tiles[row * COLUMNS : (row + 1) * COLUMNS]]
        assert all(left[1] <= right[0] for left, right in pairwise(extents))
    assert min(tile.extent[0] for tile in placed.tiles) >= 0
    assert max(tile.extent[1] for tile in placed.tiles) <= placed.width
    assert max(tile.extent[3] for tile in placed.tiles) < placed.height


def test_cut_shows_the_subjects_left_on_the_left_and_up_as_up(mask):
    tile = layout(mask, ZOOMS).tiles[0]
    x, y, _ = np.indices(mask.shape)
    assert (np.diff(tile.cut(x), axis=1) == 1).all()
    assert (np.diff(tile.cut(y), axis=0) == 1).all()


def test_empty_mask_shows_everything():
    tile = layout(np.zeros((8, 9, 10)), ZOOMS).tiles[0]
    assert tile.window == (slice(0, 8), slice(0, 9))


def test_labels_give_world_coordinates_and_sides(mask):
    placed = layout(mask, ZOOMS)
    affine = np.diag([*ZOOMS, 1.0])
    affine[:3, 3] = [-10, -20, -30]
    texts = [label.text for label in labels(placed, affine)]
    assert f"z = {placed.tiles[0].index * 3 - 30}" in texts
    assert f"x = {placed.tiles[-1].index - 10}" in texts
    assert [text for text in texts if len(text) == 1] == ["L", "R", "L", "R", "P", "A"]
