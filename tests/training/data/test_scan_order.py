from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.training.data.scan_order import Order


def scans(t1w, t2w):
    return [DerivedScan("", "", sequence, "", "sub-01", 1, 0) for sequence in ["T1w"] * t1w + ["T2w"] * t2w]


def first(count, order):
    return [order[n] for n in range(count)]


def test_order_takes_sequences_in_turn():
    """Six T1w and two T2w: each sequence is every other scan, each T2w seen three times as often."""
    drawn = first(24, Order(scans(6, 2), seed=0))
    assert all(i < 6 for i in drawn[::2])
    assert all(i >= 6 for i in drawn[1::2])
    assert sorted(drawn[:12:2]) == [0, 1, 2, 3, 4, 5]
    assert sorted(drawn[12::2]) == [0, 1, 2, 3, 4, 5]
    assert [drawn.count(i) for i in (6, 7)] == [6, 6]


def test_order_depends_on_the_seed_and_shuffles_epochs_anew():
    one, again, other = (first(16, Order(scans(8, 0), seed)) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    assert one[:8] != one[8:]
    assert sorted(one[:8]) == sorted(one[8:]) == list(range(8))


def test_order_needs_no_history():
    order = Order(scans(5, 3), seed=4)
    assert [order[n] for n in (37, 3, 12)] == [first(40, Order(scans(5, 3), seed=4))[n] for n in (37, 3, 12)]


def test_sites_take_turns_if_asked():
    """Six scans at one site, two at another: unbalanced a quarter, balanced half of the draws are its."""
    at = [*("alpha",) * 6, *("beta",) * 2]
    mixed = [DerivedScan("", "", "T1w", site, "sub-01", 1, 0) for site in at]
    drawn = first(24, Order(mixed, seed=0, balance_sites=True))
    assert all({at[i] for i in drawn[n : n + 2]} == {"alpha", "beta"} for n in range(0, 24, 2))
    assert sorted(drawn.count(i) for i in range(8)) == [2] * 6 + [6] * 2
    assert [drawn.count(i) for i in (6, 7)] == [6, 6]
    plain = first(24, Order(mixed, seed=0))
    assert sum(at[i] == "beta" for i in plain) == 6
    assert len({tuple(at[i] for i in drawn[n : n + 2]) for n in range(0, 24, 2)}) == 2  # in shuffled turns
