from typing import NamedTuple

from bids_mmh.evaluation.scans import travelling_pairs


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


def test_pairs_join_each_scan_elsewhere_with_the_first_one_at_the_target():
    assert travelling_pairs(STUDY, "east") == [(STUDY[0], STUDY[1])]
    assert travelling_pairs(STUDY, "west") == [
        (STUDY[1], STUDY[0]),
        (STUDY[2], STUDY[0]),
        (STUDY[4], STUDY[3]),
    ]
