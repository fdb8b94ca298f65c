import numpy as np
import pytest

from bids_mmh.phantom.head.grid import Grid
from bids_mmh.phantom.head.shapes import closing, ellipsoid, ellipsoid_pair, inside, signed_distance, union

GRID = Grid((21, 21, 21), (-10, -10, -10), 1.0)


def test_ellipsoid_has_its_volume_and_sign():
    ball = ellipsoid(GRID, (0, 0, 0), (6, 6, 6))
    assert ball[10, 10, 10] == pytest.approx(-6)
    assert inside(ball).sum() == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.02)


def test_pair_is_mirrored():
    both = ellipsoid_pair(GRID, (5, 0, 0), (3, 2, 2))
    np.testing.assert_allclose(both, both[::-1], atol=1e-6)
    assert both[15, 10, 10] < 0 < both[10, 10, 10]


def test_union_lies_inside_both_and_blends():
    a, b = ellipsoid(GRID, (-4, 0, 0), (5, 5, 5)), ellipsoid(GRID, (4, 0, 0), (5, 5, 5))
    assert (union(a, b) <= np.minimum(a, b) + 1e-5).all()
    assert union(a, b)[10, 10, 10] < np.minimum(a, b)[10, 10, 10] - 1


def test_closing_fills_a_gap_and_ignores_the_edge_of_the_array():
    mask = np.zeros((30, 30, 30), bool)
    mask[:, :, :12] = True
    mask[14:16, :, :12] = False
    closed = closing(mask, 1.0, radius=4) < 0
    assert closed[15, 15, 5]
    assert not closed[15, 15, 20]
    assert not closed[0, 0, 29]


def test_signed_distance_in_millimetres():
    mask = np.zeros((11, 11, 11), bool)
    mask[5:] = True
    distance = signed_distance(mask, 2.0)
    assert distance[2, 5, 5] == pytest.approx(6)
    assert distance[7, 5, 5] == pytest.approx(-6)
