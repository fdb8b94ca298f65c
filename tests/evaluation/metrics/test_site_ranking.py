import math

import numpy as np
import pytest

from bids_mmh.evaluation.metrics.site_ranking import rank_by_variability


def histogram(place):
    counts = np.zeros(100)
    counts[place] = 1
    return counts


def ranked(scans, min_scans=2):
    """Rank scans given as (site, sequence, bin of all voxels)."""
    return rank_by_variability(
        [histogram(place) for _, _, place in scans],
        [site for site, _, _ in scans],
        [sequence for _, sequence, _ in scans],
        min_scans,
    )


def test_the_figure_is_the_mean_distance_of_any_two_scans_averaged_over_sequences():
    (one,) = ranked([("a", "T1w", 10), ("a", "T1w", 20), ("a", "T1w", 40), ("a", "T2w", 5), ("a", "T2w", 15)])
    # bins apart, as a fraction of the 100 bins
    assert one.by_sequence == pytest.approx({"T1w": (0.1 + 0.2 + 0.3) / 3, "T2w": 0.1})
    assert one.variability == pytest.approx(0.15)
    assert (one.scans, one.counts) == (2, {"T1w": 3, "T2w": 2})


def test_the_steadiest_comes_first_and_who_has_too_few_scans_last():
    ranking = ranked(
        [("wide", "T1w", 0), ("wide", "T1w", 9), ("b", "T1w", 3), ("b", "T1w", 4), ("c", "T1w", 5)]
    )
    assert [(one.site, one.qualifies) for one in ranking] == [("b", True), ("wide", True), ("c", False)]
    assert math.isnan(ranking[-1].variability)


def test_a_site_without_one_of_the_sequences_and_the_unknown_site_do_not_qualify():
    pair = [(site, "T1w", place) for site in ("n/a", "only T1w", "both") for place in (1, 2)]
    ranking = ranked([*pair, ("both", "T2w", 1), ("both", "T2w", 3), ("n/a", "T2w", 1), ("n/a", "T2w", 1)])
    assert [one.site for one in ranking if one.qualifies] == ["both"]
    assert {one.site: one.scans for one in ranking} == {"both": 2, "only T1w": 0, "n/a": 2}
