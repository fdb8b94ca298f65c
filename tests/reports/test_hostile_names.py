"""Names in datasets are shown on pages, and never run there."""

import re
import shutil
import subprocess
from dataclasses import fields, replace
from html.parser import HTMLParser

import pytest

from bids_mmh.reports.group_page import StudyFacts, StudyPart, render_group_page
from bids_mmh.reports.group_table import ScanRow
from bids_mmh.reports.subject import ScanReport, render_subject_report

DO = "document.documentElement.dataset.ran=1"
HOSTILE = (
    f"<script>{DO}</script></script><img src=x onerror='{DO}'>\"'><svg onload=\"{DO}\">"
    f"<a href='javascript:{DO}'>&lt;script&gt;{{{{7*7}}}}</a>--></style></title><script>{DO}</script>"
)
FLAT = (0.5,) * 100
MEAN = {"mean": 0.1, "std": 0.2}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Skip the rasterising: these tests look at the text."""
    monkeypatch.setattr("bids_mmh.reports.figures.encode", lambda figure, kind: b"image")


def subject_page(brain) -> str:
    volume, mask, affine = brain
    statistics = {"mean": 0.25, "histogram": FLAT, HOSTILE: HOSTILE}
    scan = ScanReport(
        sequence="T1w",
        name="x",
        site=None,
        before=volume,
        mask=mask,
        affine=affine,
        statistics_before=statistics,
        after=volume,
        statistics_after=statistics,
        qc={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
        sidecars={HOSTILE: HOSTILE},
    )
    texts = {field.name for field in fields(ScanReport) if field.type in ("str", "str | None")}
    assert {"sequence", "name", "site", "space", "model", "target"} <= texts
    return render_subject_report(
        subject=HOSTILE,
        session=HOSTILE,
        scans=[replace(scan, **dict.fromkeys(texts, HOSTILE))],
        log=HOSTILE,
        boilerplate=HOSTILE,
        settings={HOSTILE: {HOSTILE: [HOSTILE]}},
        versions={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
    )


def group_page() -> str:
    row = ScanRow("sub-1", None, "sub-1_T1w", "T1w", "MNI", True, before=MEAN, after=MEAN)
    row = replace(row, histogram_before=FLAT, histogram_after=FLAT, page="sub-1.html")
    names = {
        "participant_id",
        "session_id",
        "scan",
        "sequence",
        "space",
        "site",
        "model",
        "target",
        "problem",
    }
    names |= {"model_sha256", "encoder", "configuration_hash", "suggestion", "model_split"}
    hostile = replace(row, **dict.fromkeys(names, HOSTILE), warnings=(HOSTILE,), outlier_reasons=(HOSTILE,))
    facts = StudyFacts(warnings=(HOSTILE,), tables=[HOSTILE], version=HOSTILE)
    return render_group_page([StudyPart(HOSTILE, HOSTILE, [hostile], None)], facts)


class _Elements(HTMLParser):
    """What a browser would make of a page: its elements, and the attributes that run something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.handlers += [
            name for name, value in attributes
            if name.startswith("on") or str(value).strip().casefold().startswith("javascript:")
        ]  # fmt: skip


@pytest.mark.parametrize("kind", ["subject", "group"])
def test_names_become_no_elements(kind, brain):
    page = subject_page(brain) if kind == "subject" else group_page()
    found = _Elements(page)
    assert "svg" not in found.tags
    assert found.handlers == []
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.S)
    assert len(scripts) == (1 if kind == "subject" else 2)
    # As data for the table, a name may be in a script, with everything escaped that could end it.
    assert all("<" not in script for script in scripts if DO in script)
    assert "49" not in re.sub(r"<style>.*?</style>|<script.*?</script>|base64,[^\"]*", "", page, flags=re.S)


@pytest.mark.parametrize("kind", ["subject", "group"])
def test_a_browser_runs_nothing(kind, brain, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here")
    pages = {"page": subject_page(brain) if kind == "subject" else group_page()}
    pages["control"] = f"<!DOCTYPE html><html><body>{HOSTILE}</body></html>"
    ran = {}
    for name, page in pages.items():
        (tmp_path / f"{name}.html").write_text(page, encoding="utf-8")
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / name}",
        ]
        command += ["--virtual-time-budget=3000", "--dump-dom", (tmp_path / f"{name}.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if "<html" not in done.stdout:
            pytest.skip(f"Chromium does not run here: {done.stderr[-300:]}")
        ran[name] = re.search(r"<html[^>]*data-ran", done.stdout) is not None
    assert ran == {"page": False, "control": True}


def test_names_are_shown_as_they_are(brain):
    assert "&lt;script&gt;document" in subject_page(brain)
