import numpy as np

from bids_mmh.reports.figures.levels import outline_levels, robust_window


def test_outline_levels_part_background_grey_and_white(brain):
    volume, _, _ = brain
    outer, inner = outline_levels(volume)
    assert -1 < outer < -0.2 < inner < 0.6
    assert outline_levels(np.zeros((4, 4, 4))) == []


def test_robust_window_ignores_outliers():
    ramp = np.linspace(0, 100, 30**3, dtype=np.float32)
    image = np.random.default_rng(4).permutation(ramp).reshape(30, 30, 30)
    image[0, 0, 0] = 1e6
    low, high = robust_window(image)
    assert 0 < low < 3
    assert 97 < high < 101
    assert robust_window(np.full((9, 9, 9), 5.0)) == (5.0, 6.0)
