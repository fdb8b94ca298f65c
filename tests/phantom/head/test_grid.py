import numpy as np
import pytest

from bids_mmh.phantom.head.grid import Grid, refine, smooth_noise, spline_weights


def test_axes_are_in_millimetres():
    x, y, z = Grid((2, 3, 4), (-1, 0, 5), 2.0).axes()
    assert x.shape == (2, 1, 1)
    np.testing.assert_allclose(y.ravel(), [0, 2, 4])
    np.testing.assert_allclose(z.ravel(), [5, 7, 9, 11])


def test_coarser_grid_takes_every_other_voxel():
    grid = Grid((5, 4, 7), (1, 2, 3), 1.0)
    assert grid.coarser(2.0).shape == np.zeros(grid.shape)[::2, ::2, ::2].shape


def test_spline_weights_sum_to_one():
    weights = spline_weights(50, 7)
    assert weights.shape == (50, 7)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_refine_reproduces_a_linear_map():
    fine = np.add.outer(np.add.outer(np.arange(9.0), 2 * np.arange(9)), -np.arange(9))
    out = refine(fine[::4, ::4, ::4].astype(np.float32), (9, 9, 9), 1 / 4)
    np.testing.assert_allclose(out, fine, atol=1e-5)


def test_smooth_noise_is_standardised_smooth_and_reproducible():
    field = smooth_noise(np.random.default_rng(0), (40, 50, 60), 20)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(np.diff(field, axis=2)).max() < 0.4
    np.testing.assert_array_equal(field, smooth_noise(np.random.default_rng(0), (40, 50, 60), 20))
