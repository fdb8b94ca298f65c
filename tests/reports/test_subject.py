import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from bids_mmh.reports.subject import ScanReport, render_subject_report

VOID = {"meta", "link", "img", "input", "br"}


class _Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.images, self.addresses = [], 0, []

    def handle_starttag(self, tag, attributes):
        self.images += tag == "img"
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _parse(page):
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def scan(brain):
    volume, mask, affine = brain
    statistics = {"mean": 0.25, "std": 0.5, "histogram": [0.5] * 100}
    return ScanReport(
        sequence="T1w",
        name="sub-01_T1w.nii.gz",
        site="Siena",
        before=volume,
        mask=mask,
        affine=affine,
        statistics_before=statistics,
        after=np.where(mask, volume * 0.8, -1),
        statistics_after={**statistics, "mean": 0.125},
        space="MNI152NLin2009cAsym",
        template=volume,
        native_image=volume + 1,
        native_mask=mask,
        native_affine=affine,
        qc={"AnatomyPreservation": 0.987},
        model="embedded",
        target="siteT",
        sidecars={"harmonized": "sub-01/anat/sub-01_T1w.json"},
    )


@pytest.fixture
def undrawn(monkeypatch):
    """Skip the rasterising: these tests look at the text."""
    monkeypatch.setattr("bids_mmh.reports.figures.encode", lambda figure, kind: b"image")


def _render(scans, **changes):
    defaults = {
        "subject": "01",
        "session": None,
        "scans": scans,
        "log": "line one",
        "boilerplate": "First paragraph.\n\nSecond paragraph.",
        "settings": {"seed": 7},
        "versions": {"torch": "2.13"},
    }
    return render_subject_report(**{**defaults, **changes})


def test_page_is_one_file_without_outside_addresses(scan):
    parser = _parse(_render([scan]))
    outside = [a for a in parser.addresses if not a.startswith(("data:", "#"))]
    assert set(outside) == {"sub-01/anat/sub-01_T1w.json"}
    # Before, after, histogram, difference, mask, template.
    assert parser.images == 6


@pytest.mark.usefixtures("undrawn")
def test_page_tells_what_was_done(scan):
    page = _render([scan], session="A")
    for text in (
        "sub-01 ses-A",
        "Siena",
        "<td>siteT</td>",
        "0.987",
        "0.125",
        "seed",
        "2.13",
        "line one",
        "<p>Second paragraph.</p>",
    ):
        assert text in page
    assert re.search(r'badge good">\s*Harmonized<', page)


@pytest.mark.usefixtures("undrawn")
def test_warnings_change_the_badge(scan):
    page = _render([replace(scan, warnings=["Mask touches the border."])], warnings=["Fallback template."])
    assert "Harmonized, 2 warnings" in page
    assert "Mask touches the border." in page
    assert "Fallback template." in page


@pytest.mark.usefixtures("undrawn")
def test_preprocessed_only_has_no_comparison(scan):
    page = _render([replace(scan, after=None, statistics_after=None, model=None, target=None)])
    assert "Preprocessed only" in page
    assert "After harmonization" not in page
    assert 'class="compare"' not in page
    # Preprocessed, histogram, mask, template.
    assert _parse(page).images == 4


@pytest.mark.usefixtures("undrawn")
def test_partly_harmonized_session_says_so(scan):
    other = replace(
        scan, sequence="T2w", after=None, statistics_after=None, template=None, anchor=scan.before
    )
    page = _render([scan, other])
    assert "Partly harmonized" in page
    assert "Registration to the T1w" in page


@pytest.mark.usefixtures("undrawn")
def test_session_without_scans_is_no_success():
    assert "No scan processed" in _render([])


@pytest.mark.usefixtures("undrawn")
def test_text_is_escaped(scan):
    page = _render([replace(scan, name="<script>x</script>")], log="</pre><b>", boilerplate="a < b")
    assert "<script>x" not in page
    assert "&lt;/pre&gt;&lt;b&gt;" in page
    assert "a &lt; b" in page
