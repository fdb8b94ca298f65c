import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.overlap import overlap


def labels(text):
    return np.array([int(digit) for digit in text], np.uint8).reshape(1, 1, -1)


def test_hand_made_example():
    found = overlap(labels("0111222233"), labels("0112222223"))
    assert found["CSF"].dice == pytest.approx(2 * 2 / 5)
    assert found["GM"].dice == pytest.approx(2 * 4 / 10)
    assert found["CSF"].volume_preservation == pytest.approx(2 / 3)
    assert found["GM"].volume_preservation == pytest.approx(1 / 2)
    assert found["WM"].volume_preservation == pytest.approx(1 / 2)


def test_equal_volumes_elsewhere_are_preserved_but_do_not_overlap():
    found = overlap(labels("112233"), labels("331122"))
    assert {(f.dice, f.volume_preservation) for f in found.values()} == {(0.0, 1.0)}


def test_a_tissue_that_is_lost_counts_zero_and_one_that_was_never_there_is_an_error():
    assert overlap(labels("123"), labels("122"))["WM"].volume_preservation == 0
    with pytest.raises(BadDataError, match="no WM"):
        overlap(labels("122"), labels("123"))
    with pytest.raises(BadDataError, match="not on one grid"):
        overlap(labels("123"), labels("1233"))
