from typing import NamedTuple

import pytest

from bids_mmh.errors import NoInputError
from bids_mmh.evaluation.scans import choose_target, travelling_pairs


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


def test_the_target_is_where_most_travellers_were():
    assert choose_target(STUDY) == "west"  # sub-03 stayed at home and does not count
    assert choose_target(STUDY[:3]) == "east"  # a tie, by name
    assert choose_target(STUDY, "north") == "north"


def test_a_target_nobody_travelled_to_is_refused():
    with pytest.raises(NoInputError, match="choose one of east, north, west"):
        choose_target(STUDY, "south")
    with pytest.raises(NoInputError, match="need travelling subjects"):
        choose_target(STUDY[-1:])


def test_pairs_join_each_scan_elsewhere_with_the_first_one_at_the_target():
    assert travelling_pairs(STUDY, "east") == [(STUDY[0], STUDY[1])]
    assert travelling_pairs(STUDY, "west") == [
        (STUDY[1], STUDY[0]),
        (STUDY[2], STUDY[0]),
        (STUDY[4], STUDY[3]),
    ]
