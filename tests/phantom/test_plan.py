from collections import Counter

import pytest

from bids_mmh.phantom.plan import Plan


@pytest.fixture
def plan():
    return Plan(24, 6, 12, 2, seed=0, resolution=1.0, sequences=("T1w",), truth=False)


def test_every_two_neighbouring_sites_share_as_many_travelling_subjects(plan):
    shared = Counter(tuple(plan.sites_of(subject)) for subject in range(12))
    assert shared == {(0, 1): 2, (1, 2): 2, (2, 3): 2, (3, 4): 2, (4, 5): 2, (0, 5): 2}


def test_the_others_are_scanned_once_and_evenly_over_the_sites(plan):
    assert Counter(plan.sites_of(subject)[0] for subject in range(12, 24)) == dict.fromkeys(range(6), 2)
    assert {len(plan.sites_of(subject)) for subject in range(12, 24)} == {1}


def test_no_number_of_visits_means_every_site():
    plan = Plan(1, 4, 1, 0, seed=0, resolution=1.0, sequences=("T1w",), truth=False)
    assert plan.sites_of(0) == [0, 1, 2, 3]
