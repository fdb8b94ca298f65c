import csv
import json

import numpy as np
import pytest

from bids_mmh.errors import UsageError
from bids_mmh.group.target_site import choose_study_target
from bids_mmh.reports.group_table import ScanRow


def rows_of(**sites):
    """Scans of sites, each given by the bin that all its voxels are in; T1w, or (T1w, T2w)."""
    rows = []
    for site, places in sites.items():
        for number, place in enumerate(places):
            for sequence, where in zip(("T1w", "T2w"), np.atleast_1d(place), strict=False):
                histogram = np.zeros(100)
                histogram[where] = 50
                name = f"sub-{site}{number}"
                row = ScanRow(name, None, f"{name}_{sequence}", sequence, "MNI", harmonized=False)
                known = None if site == "unknown" else site
                rows.append(
                    ScanRow(**{**vars(row), "site": known, "histogram_before": tuple(histogram.tolist())})
                )
    return rows


STUDY = rows_of(wide=[10, 20, 30], narrow=[50, 51, 52], few=[5, 5], unknown=[1, 1, 1])


def test_the_steadiest_site_is_chosen_and_who_has_too_few_scans_is_named():
    target = choose_study_target(STUDY, "auto", 3)
    assert target.site == "narrow"
    assert target.sentences[0].startswith(
        "Target site: narrow, whose scans differ least (mean distance 0.0133;"
    )
    assert target.sentences[1:] == (
        "Not considered as target, with fewer than 3 scans of a sequence (--min-site-scans): few (2 T1w).",
    )
    assert choose_study_target(STUDY, "auto", 2).site == "few"


def test_a_name_and_none_are_taken_as_they_are():
    assert choose_study_target(STUDY, "few", 3).site == "few"
    target = choose_study_target(STUDY, "none", 3)
    assert target.site is None
    assert len(target.ranking) == 4


@pytest.mark.parametrize(("wanted", "hint"), [("narow", r"; did you mean 'narrow'\?"), ("n/a", r"wide\.")])
def test_an_unknown_site_is_answered_with_those_there_are(wanted, hint):
    with pytest.raises(UsageError, match=f"no scan is from the site '{wanted}'; the sites are: .*{hint}"):
        choose_study_target(STUDY, wanted, 3)


def test_no_site_with_enough_scans_of_every_sequence():
    target = choose_study_target(rows_of(a=[(1, 2)], b=[3, 4, 5]), "auto", 3)
    assert target.site is None
    assert target.sentences == ("No site has 3 scans of every sequence, so none is chosen as target.",)


def test_the_table_has_a_dictionary_for_every_column(tmp_path):
    target = choose_study_target(rows_of(a=[(1, 2), (3, 2)], b=[3, 4, 5]), "auto", 2)
    path = target.write(tmp_path)
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert list(json.loads(path.with_suffix(".json").read_text())) == list(rows[0])
    assert [(row["rank"], row["site"], row["scans_T2w"]) for row in rows] == [
        ("1", "a", "2"),
        ("n/a", "b", "0"),
    ]
    assert (rows[0]["variability_T1w"], rows[0]["variability_T2w"]) == ("0.02000", "0.00000")
    assert (rows[0]["target"], rows[1]["variability"]) == ("yes", "n/a")
