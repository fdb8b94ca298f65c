import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.probes.age import age_correlation, age_error

RNG = np.random.default_rng(0)
AGES = RNG.uniform(20, 80, 24)
PEOPLE = [f"sub-{n:02d}" for n in range(24)]


def test_age_in_the_features_is_found_beside_the_mean():
    features = np.column_stack([AGES, RNG.normal(0, 1, (24, 5))])
    error, sentence = age_error(features, list(AGES), PEOPLE)
    assert error.mae < 2 < 10 < error.mae_of_mean
    assert (error.scans, error.subjects) == (24, 24)
    assert "24 scans of 24 subjects" in sentence


def test_noise_predicts_no_better_than_the_mean():
    error, _ = age_error(RNG.normal(0, 1, (24, 50)), list(AGES), PEOPLE)
    assert error.mae > 0.9 * error.mae_of_mean


def test_a_subject_is_never_in_both_folds():
    own = RNG.normal(0, 1, (12, 30))  # recognises the subject, and knows nothing of age
    error, _ = age_error(np.repeat(own, 2, axis=0), np.repeat(AGES[:12], 2), np.repeat(PEOPLE[:12], 2))
    assert error.mae > 0.7 * error.mae_of_mean


def test_scans_of_unknown_age_are_left_out():
    ages = [None, float("nan"), *AGES[2:]]
    error, _ = age_error(np.zeros((24, 3)), ages, PEOPLE)
    assert error.scans == 22
    result, sentence = age_error(np.zeros((24, 3)), [None] * 15 + list(AGES[15:]), PEOPLE)
    assert result is None
    assert "age of 9 subjects is known: too few" in sentence


def test_destroyed_correlation_is_significant_and_a_linear_map_is_not():
    before = 0.6 - 0.002 * AGES + RNG.normal(0, 0.01, 24)
    kept, _ = age_correlation(before, 2 * before + 1, list(AGES), PEOPLE)
    assert kept.before == pytest.approx(kept.after)
    assert kept.before < -0.8
    assert kept.p == pytest.approx(1, abs=1e-3)
    lost, sentence = age_correlation(before, RNG.normal(0, 1, 24), list(AGES), PEOPLE)
    assert lost.p < 0.01
    assert "24 subjects" in sentence


def test_statistic_agrees_with_the_formula():
    # By hand from Meng et al.'s equations, for r = .63, -.03 (after a change of sign), r_both = .19, n = 15.
    from bids_mmh.evaluation.probes.age import _meng

    square = (0.63**2 + 0.03**2) / 2
    f = min(1, (1 - 0.19) / (2 * (1 - square)))
    h = 1 + square / (1 - square) * (1 - f)
    expected = (np.arctanh(0.63) - np.arctanh(0.03)) * np.sqrt(12 / (2 * (1 - 0.19) * h))
    z, p = _meng(0.63, 0.03, 0.19, 15)
    assert z == pytest.approx(expected)
    assert 0 < p < 0.1


def test_scans_of_one_subject_count_once():
    before, after = RNG.normal(0, 1, 24), RNG.normal(0, 1, 24)
    once, _ = age_correlation(before, after, list(AGES), PEOPLE)
    twice, _ = age_correlation(
        np.tile(before, 2), np.tile(after, 2), list(np.tile(AGES, 2)), list(np.tile(PEOPLE, 2))
    )
    assert twice.subjects == 24
    assert (twice.z, twice.p) == (pytest.approx(once.z), pytest.approx(once.p))


@pytest.mark.parametrize(
    ("ages", "reason"), [([50.0] * 24, "same age"), ([None] * 24, "age of 0 subjects is known")]
)
def test_too_little_says_why(ages, reason):
    for result, sentence in (
        age_error(np.zeros((24, 2)), ages, PEOPLE),
        age_correlation(AGES, AGES, ages, PEOPLE),
    ):
        assert result is None
        assert reason in sentence


def test_labels_of_other_scans_are_refused():
    with pytest.raises(BadDataError, match="do not label 3 scans"):
        age_error(np.zeros((3, 2)), [1, 2], ["a", "b"])
