import numpy as np
import pytest

from bids_mmh.phantom.imaging.acquisition import draw_site
from bids_mmh.phantom.imaging.scanner import add_noise, blurred, receive_field


def test_noise_is_rician():
    rng = np.random.default_rng(0)
    air = add_noise(np.zeros((50, 50, 50), np.float32), 3.0, rng)
    tissue = add_noise(np.full((50, 50, 50), 300, np.float32), 3.0, rng)
    assert air.mean() == pytest.approx(3.0 * np.sqrt(np.pi / 2), rel=0.01)
    assert tissue.mean() == pytest.approx(300, rel=0.001)
    assert tissue.std() == pytest.approx(3.0, rel=0.02)


def test_blur_follows_the_voxel_size_of_each_axis():
    point = np.zeros((41, 41, 41), np.float32)
    point[20, 20, 20] = 1
    out = blurred(point, 0.5, (2.0, 1.0, 6.0))
    offsets = np.arange(41) - 20
    sigma = [np.sqrt((out.sum(axis=axes) * offsets**2).sum()) for axes in ((1, 2), (0, 1))]
    assert out.sum() == pytest.approx(1, abs=1e-3)
    assert sigma[0] == pytest.approx(0.95, abs=0.05)
    assert sigma[1] == pytest.approx(3.0, abs=0.1)


def test_receive_field_is_positive_smooth_and_mostly_the_sites_own():
    site = draw_site(0, 0)
    first, second = (receive_field(site, (40, 50, 45), np.random.default_rng(s)) for s in (1, 2))
    other = receive_field(draw_site(0, 1), (40, 50, 45), np.random.default_rng(1))
    assert first.min() > 0
    assert np.abs(np.diff(np.log(first), axis=0)).max() < 0.15
    assert not np.array_equal(first, second)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.8
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] < 0.8
