import math

import pytest

from bids_mmh.training.loop.learning_rate import learning_rate
from bids_mmh.training.recipe import Phase


def test_learning_rate_warms_up_and_decays():
    phase = Phase(4.0, steps=100, learning_rate=2.0)
    rates = [learning_rate(phase, step) for step in range(100)]
    assert rates[:6] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0])
    middle = 5 + 95 // 2
    cosine = (1 + math.cos(math.pi * (middle - 5) / 95)) / 2
    assert rates[middle] == pytest.approx(2.0 * (0.01 + 0.99 * cosine))
    assert learning_rate(phase, 100) == pytest.approx(0.02)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_learning_rate_of_a_single_step():
    assert learning_rate(Phase(4.0, steps=1, learning_rate=2.0), 0) == 2.0
