import json
import re

import numpy as np
import pytest

from bids_mmh.reports.group_page import (
    TABLE_COLUMNS,
    SiteComparison,
    StudyFacts,
    StudyPart,
    render_group_page,
)
from bids_mmh.reports.group_table import ScanRow

FLAT = (0.5,) * 100


def _row(number, site, **changes):
    defaults = {
        "participant_id": f"sub-{number:02d}",
        "session_id": None,
        "scan": f"sub-{number:02d}_T1w",
        "sequence": "T1w",
        "space": "MNI",
        "harmonized": True,
        "site": site,
        "before": {"mean": 0.1, "std": 0.2},
        "after": {"mean": 0.3, "std": 0.4},
        "histogram_before": FLAT,
        "histogram_after": FLAT,
        "histogram_distance": 0.0123,
        "model": "embedded",
        "model_sha256": "ab" * 32,
        "page": f"sub-{number:02d}.html",
    }
    return ScanRow(**{**defaults, **changes})


def _render(rows, comparison=None, **changes):
    defaults = {"warnings": (), "tables": ["group_T1w_table.tsv"]}
    defaults["version"] = "9.9"
    return render_group_page(
        [StudyPart("T1w", "MNI", rows, comparison)], StudyFacts(**{**defaults, **changes})
    )


def _data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_table_data_fits_its_headings():
    page = _render([_row(1, "A"), _row(2, None, harmonized=False, after=None, page=None)])
    first, second = _data(page)
    assert len(first) == len(TABLE_COLUMNS) + 1
    by_name = dict(zip([*TABLE_COLUMNS, "page"], first, strict=True))
    assert by_name["site"] == "A"
    assert by_name["mean after"] == 0.3
    assert by_name["distance"] == 0.0123
    assert by_name["page"] == "sub-01.html"
    named = dict(zip([*TABLE_COLUMNS, "page"], second, strict=True))
    assert (named["site"], named["mean after"], named["page"]) == ("n/a", None, None)


def test_script_reads_the_columns_where_they_are():
    page = _render([_row(1, "A")])
    places = {name: int(at) for name, at in re.findall(r"(SEQUENCE|SITE|SUGGESTION|PAGE) = (\d+)", page)}
    names = [*TABLE_COLUMNS, "page"]
    assert {name: names[at] for name, at in places.items()} == {
        "SEQUENCE": "sequence",
        "SITE": "site",
        "SUGGESTION": "suggestion",
        "PAGE": "page",
    }


def test_one_site_says_that_there_is_nothing_to_compare():
    assert "come from A: there is nothing to compare" in _render([_row(1, "A"), _row(2, "A")])
    assert "No site is known" in _render([_row(1, None)])


@pytest.mark.parametrize(("after", "sentence"), [(0.01, "80% less"), (0.06, "20% more")])
def test_comparison_of_sites_is_put_in_a_sentence(after, sentence):
    matrix = np.array([[0.01, 0.05], [0.05, 0.01]])
    comparison = SiteComparison(("A", "B"), matrix, matrix, (0.01, 0.01), (0.05, after))
    page = _render([_row(1, "A"), _row(2, "B")], comparison)
    assert sentence in page
    assert "Site by site distances" in page


def test_outliers_come_with_their_reason():
    rows = [
        _row(1, "A", suggestion="look", outlier_reasons=("Look at the mask.",)),
        _row(2, "A", suggestion="exclude", outlier_reasons=("Anatomy is lost.", "So dark.")),
        _row(3, "A"),
    ]
    page = _render(rows, warnings=["Two models."])
    for text in ("Look at the mask.", "Anatomy is lost. So dark.", "Two models.", "please look: 3 notes"):
        assert text in page
    assert page.index("Anatomy is lost.") < page.index("Look at the mask.")
    assert [row[-2] for row in _data(page)] == ["look", "exclude", None]
    assert "nothing flagged" in _render([_row(3, "A")])
    assert "No outliers." in _render([_row(3, "A")])


def test_ranking_of_sites_and_methods_text_are_shown():
    lines = [{"site": "B", "target": "yes"}, {"site": "A", "target": "no"}]
    page = _render(
        [_row(1, "A")], rankings={"Choice of the target": lines}, methods="# Methods\n\nWe did <b>."
    )
    assert '<tr class="main">\n<td>B</td>' in page
    assert "Choice of the target" in page
    assert "We did &lt;b&gt;." in page
    assert 'id="methods"' in page


def test_models_are_listed_with_target_and_encoder():
    page = _render([_row(1, "A", target="siteT", encoder="embedded-slices"), _row(2, "A", target="unified")])
    for text in ("<td>siteT</td>", "<td>embedded-slices</td>", "<td>unified</td>"):
        assert text in page


def test_part_without_any_usable_scan_still_renders():
    broken = _row(
        1,
        None,
        before=None,
        after=None,
        histogram_before=None,
        histogram_after=None,
        problem="Bad.",
        suggestion="run again",
        outlier_reasons=("Bad.",),
    )
    assert "Bad." in _render([broken])


def test_text_cannot_break_out_of_the_page():
    page = _render([_row(1, "</script><script>alert(1)</script>")])
    assert "<script>alert(1)" not in page
    assert _data(page)[0][2] == "</script><script>alert(1)</script>"


def test_no_address_leaves_the_folder():
    page = _render([_row(1, "A")])
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == ["group_T1w_table.tsv"]
