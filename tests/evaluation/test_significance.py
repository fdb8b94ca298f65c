import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.significance import paired_test


def test_all_pairs_better_gives_the_exact_p():
    p, sentence = paired_test([2, 3, 4, 5, 6, 7], [1, 1, 1, 1, 1, 1])
    assert p == pytest.approx(2 / 2**6)
    assert "6 pairs" in sentence


def test_no_difference_on_average_is_not_significant():
    rng = np.random.default_rng(0)
    p, _ = paired_test(rng.normal(0, 1, 12), rng.normal(0, 1, 12))
    assert p > 0.05


def test_infinite_figures_rank_highest():
    assert paired_test([1, 2, 3, 4, 5, np.inf], [0] * 6)[0] == pytest.approx(2 / 2**6)
    assert paired_test([np.inf] * 6, [np.inf] * 6)[0] is None


def test_too_little_says_why():
    assert paired_test([1] * 5, [2] * 5) == (None, "5 pairs are too few for a test: it takes 6.")
    p, sentence = paired_test([1] * 6, [1] * 6)
    assert p is None
    assert "nothing to test" in sentence


@pytest.mark.parametrize("reference", [[1] * 5, [np.nan] * 6])
def test_other_pairs_are_refused(reference):
    with pytest.raises(BadDataError, match="same pairs"):
        paired_test([1] * 6, reference)
