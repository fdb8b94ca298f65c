from dataclasses import replace

from bids_mmh.group.warnings import study_warnings
from bids_mmh.reports.group_table import ScanRow


def scan(subject, site, sequence="T1w", **changes):
    row = ScanRow(
        f"sub-{subject}", None, f"sub-{subject}_{sequence}", sequence, "MNI", harmonized=False, site=site
    )
    return replace(row, **changes)


STUDY = [scan(f"{site}{i}", site) for site in ("a", "b") for i in range(3)]


def said(rows):
    return " ".join(study_warnings(rows))


def test_nothing_is_odd_about_a_plain_study():
    assert study_warnings(STUDY) == []


def test_missing_sites_are_counted():
    text = said([*STUDY, scan("x", None), scan("y", None)])
    assert "2 of 8 scans have no site" in text
    assert "run participant again" in text


def test_names_that_look_alike_and_slips_are_named_but_numbered_sites_are_not():
    text = said([*STUDY, *[scan(f"u{i}", "Utrecht 01") for i in range(3)], scan("v", "utrecht_01")])
    assert "The site names 'Utrecht 01' (3 scans) and 'utrecht_01' (1 scans) differ only in case" in text
    slips = [
        *STUDY,
        *[scan(f"u{i}", "Utrecht01") for i in range(3)],
        scan("v", "Utrcht01"),
        scan("w", "Utrecht02"),
    ]
    text = said(slips)
    assert "'Utrcht01' is the site of one subject and looks like 'Utrecht01'" in text
    assert "Utrecht02" not in text


def test_one_site_and_one_subject_a_site():
    assert "All 3 scans come from a: there is nothing to harmonize" in said(STUDY[:3])
    one_each = [scan(site, site) for site in "abcd"]
    assert "Each of the 4 sites has one subject" in said(one_each)


def test_a_sequence_at_only_some_sites():
    text = said([*STUDY, *[replace(row, sequence="T2w") for row in STUDY if row.site == "a"]])
    assert "There is no T2w scan at b" in text
    assert "no T1w" not in text


def test_waiting_scans_are_counted_and_their_configuration_is_not_held_against_them():
    done = [replace(row, harmonized=True, configuration_hash="2", model_sha256="m") for row in STUDY]
    rows = [*done, scan("new", "a", configuration_hash="1")]
    assert study_warnings(rows) == ["1 of 7 T1w scans are not harmonized: run group with --model."]


def test_scans_with_a_problem_say_nothing():
    assert study_warnings([*STUDY, scan("x", None, problem="broken")]) == []
