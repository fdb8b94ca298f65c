from bids_mmh.evaluation.scans import travelling_pairs


def test_pairs_join_each_scan_elsewhere_with_the_first_one_at_the_target(visits):
    assert travelling_pairs(visits, "east") == [(visits[0], visits[1])]
    assert travelling_pairs(visits, "west") == [
        (visits[1], visits[0]),
        (visits[2], visits[0]),
        (visits[4], visits[3]),
    ]
