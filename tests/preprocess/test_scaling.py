import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.scaling import intensity_scaling


def test_percentiles_land_on_their_marks_and_the_map_inverts():
    values = np.random.default_rng(0).gamma(4.0, 200.0, 10_000)
    slope, intercept = intensity_scaling(values)
    low, high = np.percentile(values, (1, 99))
    assert slope * low + intercept == pytest.approx(-0.9)
    assert slope * high + intercept == pytest.approx(0.9)
    scaled = slope * values + intercept
    assert scaled.max() > 1  # never clipped
    np.testing.assert_allclose((scaled - intercept) / slope, values, rtol=1e-10)


def test_unit_of_the_scan_does_not_matter():
    values = np.random.default_rng(1).normal(100, 20, 5000)
    a, b = intensity_scaling(values)
    c, d = intensity_scaling(7 * values - 300)
    np.testing.assert_allclose(a * values + b, c * (7 * values - 300) + d, atol=1e-9)


def test_values_that_are_not_finite_are_left_out():
    values = np.arange(1000.0)
    assert intensity_scaling(np.append(values, [np.nan, np.inf])) == intensity_scaling(values)


@pytest.mark.parametrize("values", [np.zeros(50), np.full(50, 3e4), np.array([]), np.full(5, np.nan)])
def test_no_contrast_is_refused(values):
    with pytest.raises(BadDataError):
        intensity_scaling(values)
