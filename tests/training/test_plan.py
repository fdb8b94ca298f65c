import math
from itertools import islice

import pytest

from bids_mmh.training.data import TrainingScan
from bids_mmh.training.plan import draw_seed, learning_rate, order
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


def scans(t1w, t2w):
    return [TrainingScan("", "", sequence, "", "sub-01", 1, 0) for sequence in ["T1w"] * t1w + ["T2w"] * t2w]


def test_order_takes_sequences_in_turn():
    """Six T1w and two T2w: each sequence is every other scan, each T2w seen three times as often."""
    drawn = list(islice(order(scans(6, 2), seed=0), 24))
    assert all(i < 6 for i in drawn[::2])
    assert all(i >= 6 for i in drawn[1::2])
    assert sorted(drawn[:12:2]) == [0, 1, 2, 3, 4, 5]
    assert sorted(drawn[12::2]) == [0, 1, 2, 3, 4, 5]
    assert [drawn.count(i) for i in (6, 7)] == [6, 6]


def test_order_depends_on_the_seed_and_shuffles_epochs_anew():
    first, again, other = (list(islice(order(scans(8, 0), seed), 16)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first[:8] != first[8:]


def test_draw_seeds_differ_by_position():
    positions = [
        (seed, phase, step, part)
        for seed in (0, 1)
        for phase in (0, 1)
        for step in (0, 1, 2)
        for part in (0, 1)
    ]
    assert len({draw_seed(*position) for position in positions}) == len(positions)
    assert draw_seed(0, 1, 2) == draw_seed(0, 1, 2)
