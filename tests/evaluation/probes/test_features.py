import numpy as np
import pytest
import torch

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.probes.features import feature_distances, random_features, tsne

VOLUMES = np.random.default_rng(0).uniform(-1, 1, (3, 20, 22, 18)).astype(np.float32)


def test_features_are_the_same_each_time_and_leave_the_random_state():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = random_features(VOLUMES)
    assert torch.equal(torch.rand(1), expected)
    assert first.shape == (3, 512)
    np.testing.assert_array_equal(first, random_features(VOLUMES))
    assert not np.allclose(first, random_features(VOLUMES, seed=1))


def test_features_of_a_scan_do_not_depend_on_the_others():
    np.testing.assert_allclose(random_features(VOLUMES[:1])[0], random_features(VOLUMES)[0], rtol=1e-5)


def test_features_scale_with_intensities_above_the_background():
    half = (VOLUMES + 1) / 2 - 1
    np.testing.assert_allclose(random_features(half), random_features(VOLUMES) / 2, rtol=1e-3, atol=1e-6)
    assert np.all(random_features(np.full((1, 20, 22, 18), -1.0)) == 0)


def test_features_want_three_dimensions():
    with pytest.raises(BadDataError, match="three-dimensional"):
        random_features(VOLUMES[None])


def test_distances_of_a_hand_made_example():
    features = [[0, 0], [0, 2], [4, 1], [4, 1], [0, 1]]
    distances = feature_distances(features, ["a", "a", "b", "b", "c"])
    # Centroids (0, 1), (4, 1), (0, 1); distances to them 1, 1, 0, 0, 0.
    assert distances.inter_site == pytest.approx((4 + 0 + 4) / 3)
    assert distances.intra_site == pytest.approx(2 / 5)


def test_one_site_has_no_distance_to_others():
    assert np.isnan(feature_distances([[0.0], [1.0]], ["a", "a"]).inter_site)
    with pytest.raises(BadDataError, match="do not label"):
        feature_distances([[0.0]], ["a", "a"])


def test_tsne_keeps_two_groups_apart_and_needs_four_scans():
    features = np.random.default_rng(0).normal(0, 0.1, (12, 5))
    features[6:] += 10
    layout = tsne(features)
    assert layout.shape == (12, 2)
    within = max(np.ptp(layout[:6], axis=0).max(), np.ptp(layout[6:], axis=0).max())
    assert np.linalg.norm(layout[:6].mean(axis=0) - layout[6:].mean(axis=0)) > within / 2
    np.testing.assert_array_equal(layout, tsne(features))
    assert tsne(features[:3]) is None
