import json

import numpy as np
import pytest
from scipy import stats

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.statistics import (
    HISTOGRAM_BINS,
    ImageStatistics,
    cumulative,
    image_statistics,
    wasserstein,
)

CENTRES = np.linspace(-1, 1, HISTOGRAM_BINS, endpoint=False) + 0.01


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(3).beta(2, 5, 20_000) * 2.2 - 1.0


def test_moments_and_percentiles_are_those_of_scipy_and_numpy(values):
    found = image_statistics(values.reshape(20, 1000))
    assert found.voxels == 20_000
    assert found.mean == pytest.approx(values.mean())
    assert found.std == pytest.approx(values.std())
    assert found.skewness == pytest.approx(stats.skew(values))
    percentiles = np.percentile(values, [1, 25, 50, 75, 99])
    assert [found.p01, found.p25, found.median, found.p75, found.p99] == pytest.approx(percentiles)


def test_histogram_is_a_density_and_counts_what_it_leaves_out():
    found = image_statistics(np.array([-0.99, -0.99, 0.5, 3.0]))
    density = np.array(found.histogram)
    assert density.sum() * 2 / HISTOGRAM_BINS == pytest.approx(1.0)
    assert density[0] == pytest.approx(2 / 3 * 50)
    assert found.out_of_range == pytest.approx(0.25)
    assert found.entropy == pytest.approx(stats.entropy([2, 1], base=2))


def test_quartile_dispersion_counts_from_the_background():
    # From the background at -1 the quartiles are 0.5 and 1.5.
    values = np.repeat([-0.5, 0.5], 100)
    assert image_statistics(values).quartile_dispersion == pytest.approx((1.5 - 0.5) / (1.5 + 0.5))


def test_constant_image_has_no_contrast():
    found = image_statistics(np.full(10, 0.3, dtype=np.float32))
    assert (found.skewness, found.entropy, found.quartile_dispersion) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("values", [np.array([]), np.array([0.1, np.nan]), np.array([np.inf])])
def test_values_without_statistics_are_refused(values):
    with pytest.raises(BadDataError, match="finite"):
        image_statistics(values)


def test_round_trip_through_json_keeps_six_digits(values):
    found = image_statistics(values)
    again = ImageStatistics.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.voxels == found.voxels
    assert again.mean == pytest.approx(found.mean, rel=1e-5)
    assert again.histogram == pytest.approx(found.histogram, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"std": None}, "'std'"), ({"mean": float("nan")}, "'mean'"), ({"histogram": [1.0] * 99}, "100 bins")],
)
def test_broken_record_is_refused(values, change, message):
    with pytest.raises(BadDataError, match=message):
        ImageStatistics.from_dict({**image_statistics(values).to_dict(), **change})


def test_wasserstein_is_half_of_scipys_distance_over_this_range():
    first, second = np.random.default_rng(0).random((2, HISTOGRAM_BINS))
    expected = stats.wasserstein_distance(CENTRES, CENTRES, first, second) / 2
    assert wasserstein(first, second) == pytest.approx(expected)
    assert wasserstein(first, 7 * first) == pytest.approx(0.0, abs=1e-12)


def test_wasserstein_of_a_shift_is_the_shift_in_bins():
    first, second = np.zeros((2, HISTOGRAM_BINS))
    first[10], second[35] = 1, 1
    assert wasserstein(first, second) == pytest.approx(25 / HISTOGRAM_BINS)


def test_histograms_that_cannot_be_compared_are_refused():
    with pytest.raises(BadDataError, match="compared"):
        wasserstein(np.ones(100), np.ones(50))
    with pytest.raises(BadDataError, match="empty"):
        wasserstein(np.ones(100), np.zeros(100))


def test_cumulative_normalises_each_row():
    np.testing.assert_allclose(cumulative([[1, 1], [6, 2]]), [[0.5, 1], [0.75, 1]])
