from typing import NamedTuple

import pytest

from bids_mmh.errors import NoInputError


class Visit(NamedTuple):
    subject: str
    site: str
    number: int = 0


STUDY = [
    Visit("sub-01", "west"),
    Visit("sub-01", "east"),
    Visit("sub-01", "east", 2),
    Visit("sub-02", "west"),
    Visit("sub-02", "north"),
    Visit("sub-03", "east"),
]


@pytest.fixture(scope="module")
def choose_target(load_benchmark):
    return load_benchmark("method_parts").choose_target


def test_the_target_is_where_most_travelling_subjects_were(choose_target):
    assert choose_target(STUDY) == "west"  # sub-03 stayed at home and does not count
    assert choose_target(STUDY[:3]) == "east"  # a tie, by name
    assert choose_target(STUDY, "north") == "north"


def test_a_target_without_travelling_subjects_is_refused(choose_target):
    with pytest.raises(NoInputError, match="choose one of east, north, west"):
        choose_target(STUDY, "south")
    with pytest.raises(NoInputError, match="need travelling subjects"):
        choose_target(STUDY[-1:])
