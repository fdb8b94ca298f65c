import pytest

from bids_mmh.errors import NoInputError


@pytest.fixture(scope="module")
def choose_target(load_benchmark):
    return load_benchmark("method/parts").choose_target


def test_the_target_is_where_most_travelling_subjects_were(choose_target, visits):
    assert choose_target(visits) == "west"  # sub-03 stayed at home and does not count
    assert choose_target(visits[:3]) == "east"  # a tie, by name
    assert choose_target(visits, "north") == "north"


def test_a_target_without_travelling_subjects_is_refused(choose_target, visits):
    with pytest.raises(NoInputError, match="choose one of east, north, west"):
        choose_target(visits, "south")
    with pytest.raises(NoInputError, match="need travelling subjects"):
        choose_target(visits[-1:])
