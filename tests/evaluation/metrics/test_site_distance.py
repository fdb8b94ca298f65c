from itertools import combinations

import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.site_distance import site_distances
from bids_mmh.evaluation.metrics.statistics import wasserstein

SITES = ["B", "A", "B", "A", "B", "C"]


@pytest.fixture
def histograms():
    return np.random.default_rng(5).random((len(SITES), 100))


def _mean(histograms, pairs):
    return np.mean([wasserstein(histograms[i], histograms[j]) for i, j in pairs])


def test_matrix_is_the_mean_over_pairs(histograms):
    found = site_distances(histograms, SITES)
    assert found.sites == ("A", "B", "C")
    assert found.matrix[0, 0] == pytest.approx(_mean(histograms, [(1, 3)]))
    assert found.matrix[1, 1] == pytest.approx(_mean(histograms, combinations([0, 2, 4], 2)))
    assert found.matrix[0, 1] == pytest.approx(_mean(histograms, [(i, j) for i in (1, 3) for j in (0, 2, 4)]))
    assert np.isnan(found.matrix[2, 2])
    np.testing.assert_array_equal(found.matrix, found.matrix.T)


def test_sites_and_pairs_of_sites_count_once(histograms):
    found = site_distances(histograms, SITES)
    assert found.intra_site == pytest.approx((found.matrix[0, 0] + found.matrix[1, 1]) / 2)
    expected = (found.matrix[0, 1] + found.matrix[0, 2] + found.matrix[1, 2]) / 3
    assert found.inter_site == pytest.approx(expected)


def test_one_site_of_one_scan_has_no_distance():
    found = site_distances(np.ones((1, 100)), ["A"])
    assert np.isnan(found.intra_site)
    assert np.isnan(found.inter_site)


def test_labels_must_fit(histograms):
    with pytest.raises(BadDataError, match="sites"):
        site_distances(histograms, SITES[:-1])
