import csv
import json

import numpy as np
import pytest

from bids_mmh.group.site_comparison import compare_all_sites, write_site_distances
from bids_mmh.reports.group_table import ScanRow


def row(number, site, before, after=None):
    """A T1w whose voxels all lie in one of 100 bins, before and after."""
    histograms = [None if place is None else tuple(np.eye(100)[place].tolist()) for place in (before, after)]
    return ScanRow(
        f"sub-{number}",
        None,
        f"sub-{number}_T1w",
        "T1w",
        "MNI",
        harmonized=after is not None,
        site=site,
        histogram_before=histograms[0],
        histogram_after=histograms[1],
    )


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_every_pair_of_sites_has_a_row(tmp_path):
    rows = [row(1, "A", 10, 40), row(2, "A", 12, 40), row(3, "B", 50, 44), row(4, "C", 90, 40)]
    assert write_site_distances(tmp_path, compare_all_sites(rows)) == ["site_distances_T1w_table.tsv"]
    table = read(tmp_path / "site_distances_T1w_table.tsv")
    assert [(one["site"], one["other_site"]) for one in table] == [
        *(("A", "A"), ("A", "B"), ("A", "C"), ("B", "B"), ("B", "C"), ("C", "C"))
    ]
    distances = {one["site"] + one["other_site"]: one for one in table}
    assert float(distances["AB"]["wd_before"]) == pytest.approx((0.40 + 0.38) / 2)
    assert float(distances["AB"]["wd_after"]) == pytest.approx(0.04)
    assert float(distances["AA"]["wd_before"]) == pytest.approx(0.02)
    assert distances["CC"]["wd_before"] == "n/a"  # one scan
    assert list(json.loads((tmp_path / "site_distances_T1w_table.json").read_text())) == list(table[0])


def test_before_harmonization_there_is_no_after(tmp_path):
    write_site_distances(tmp_path, compare_all_sites([row(1, "A", 10), row(2, "B", 30)]))
    table = read(tmp_path / "site_distances_T1w_table.tsv")
    assert {one["wd_after"] for one in table} == {"n/a"}


def test_one_site_has_no_table(tmp_path):
    assert write_site_distances(tmp_path, compare_all_sites([row(1, "A", 10), row(2, "A", 30)])) == []
    assert not list(tmp_path.iterdir())
