import csv
import logging

import pytest

from bids_mmh.bids.inputs import find_sessions
from bids_mmh.bids.sites.assignment import assign_sites
from bids_mmh.errors import UsageError


def sites(skeleton, site_from="auto"):
    table = assign_sites(skeleton.root, find_sessions(skeleton.root), site_from)
    return {scan.path.name.partition(".")[0]: scan.site for scan in table.scans}


@pytest.fixture
def two(skeleton):
    for name in ("sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-02_T1w.nii.gz"):
        skeleton.scan(name)
    return skeleton


def test_auto_reads_a_usual_column_of_participants(two):
    two.write("participants.tsv", "participant_id\tage\tSite ID\nsub-01\t30\tA\n02\t40\tB\n")
    assert sites(two) == {"sub-01_T1w": "A", "sub-01_T2w": "A", "sub-02_T1w": "B"}
    table = assign_sites(two.root, find_sessions(two.root), "auto")
    assert set(table.sources) == {"participants:Site ID"}
    assert table.counts == {"A": {"T1w": 1, "T2w": 1}, "B": {"T1w": 1}}


def test_auto_falls_through_scan_by_scan(skeleton):
    skeleton.scan("sub-01_ses-1_T1w.nii.gz")
    skeleton.scan("sub-02_ses-1_T1w.nii.gz")
    skeleton.scan("sub-03_ses-1_T1w.nii.gz", {"InstitutionName": "Clinic"})
    skeleton.scan("sub-03_ses-1_T2w.nii.gz")
    skeleton.scan("sub-04_ses-Tokyo_T1w.nii.gz")
    skeleton.scan("sub-05_ses-02_T1w.nii.gz")
    skeleton.write("participants.tsv", "participant_id\tsite\nsub-01\tA\nsub-02\tn/a\nsub-03\t\n")
    skeleton.write("sub-02/sub-02_sessions.tsv", "session_id\tscanner\nses-1\tS\n")
    skeleton.write(
        "sub-03/ses-1/sub-03_ses-1_scans.tsv", "filename\tsite\nanat/sub-03_ses-1_T2w.nii.gz\tMobile\n"
    )
    assert sites(skeleton) == {
        "sub-01_ses-1_T1w": "A",
        "sub-02_ses-1_T1w": "S",
        "sub-03_ses-1_T1w": "Clinic",
        "sub-03_ses-1_T2w": "Mobile",
        "sub-04_ses-Tokyo_T1w": None,
        "sub-05_ses-02_T1w": None,
    }


def test_auto_joins_make_model_and_serial_but_a_make_alone_is_no_site(skeleton):
    skeleton.scan(
        "sub-01_T1w.nii.gz",
        {"Manufacturer": "GE", "ManufacturersModelName": "MR750", "DeviceSerialNumber": "7"},
    )
    skeleton.scan("sub-02_T1w.nii.gz", {"Manufacturer": "GE"})
    skeleton.scan("sub-03_T1w.nii.gz", {"Manufacturer": "GE", "StationName": "MR3"})
    assert list(sites(skeleton).values()) == ["GE MR750 7", None, "MR3"]


@pytest.mark.parametrize("label", ["1", "01", "tp2", "V01", "baseline", "2YearFollowUpYArm1", "m12", "12m"])
def test_visits_are_no_sites_for_auto_but_can_be_asked_for(skeleton, label):
    skeleton.scan(f"sub-01_ses-{label}_T1w.nii.gz")
    assert list(sites(skeleton).values()) == [None]
    assert list(sites(skeleton, "entity:ses").values()) == [label]


def test_sidecars_are_inherited_and_the_nearest_wins(skeleton):
    skeleton.write("T1w.json", {"InstitutionName": "Top", "StationName": "Root"})
    skeleton.write("acq-b_T1w.json", {"InstitutionName": "B"})
    skeleton.scan("sub-01_T1w.nii.gz")
    skeleton.scan("sub-02_T1w.nii.gz", {"InstitutionName": "Near"})
    skeleton.scan("sub-03_acq-b_T1w.nii.gz")
    skeleton.scan("sub-03_T2w.nii.gz")
    assert list(sites(skeleton, "sidecar:InstitutionName").values()) == ["Top", "Near", "B", None]
    assert list(sites(skeleton, "sidecar:StationName").values()) == ["Root", "Root", "Root", None]


def test_named_places_are_read_alone(two):
    two.write("participants.tsv", "participant_id\tsite\tcoil\nsub-01\tA\t32ch\nsub-02\tA\tn/a\n")
    assert list(sites(two, "participants:coil").values()) == ["32ch", "32ch", None]


@pytest.mark.parametrize(
    ("site_from", "sentence"),
    [
        ("participants:Site", "no 'Site' in participants.tsv; there is age, participant_id, site"),
        ("sessions:site", "no 'site' in sessions.tsv; there is nothing to choose from"),
        ("sidecar:Foo", "no 'Foo' in the sidecars"),
        ("entity:foo", "not a place to read sites from"),
        ("participants:", "not a place to read sites from"),
        ("site", "participants:COLUMN"),
    ],
)
def test_places_that_do_not_exist_are_named_beside_those_that_do(two, site_from, sentence):
    two.write("participants.tsv", "participant_id\tage\tsite\nsub-01\t3\tA\n")
    with pytest.raises(UsageError, match=sentence):
        sites(two, site_from)


def test_a_column_exists_even_where_no_chosen_participant_has_a_row(two):
    two.write("participants.tsv", "participant_id\tsite\nsub-77\tA\n")
    assert set(sites(two, "participants:site").values()) == {None}


def test_lookalike_names_are_kept_apart_with_a_warning(two, caplog):
    two.write("participants.tsv", "participant_id\tsite\nsub-01\tSite A\nsub-02\tsite_a\n")
    with caplog.at_level(logging.WARNING):
        assert set(sites(two).values()) == {"Site A", "site_a"}
    assert "'Site A' and 'site_a' differ only in case" in caplog.text


@pytest.mark.parametrize("broken", ["sub-01/anat/sub-01_T1w.json", "sub-01/sub-01_scans.tsv"])
def test_what_one_subject_has_broken_is_named_and_stops_nobody_else(two, broken):
    two.scan("sub-02_T1w.nii.gz", {"InstitutionName": "Clinic"})
    (two.root / broken).write_bytes(b"{\xff")
    first, second = assign_sites(two.root, find_sessions(two.root), "auto").sessions
    assert broken in first.scans[0].problem
    assert first.scans[0].site is None
    assert (second.scans[0].site, second.scans[0].problem) == ("Clinic", None)


SAME = {"Manufacturer": "Siemens", "MagneticFieldStrength": 3}
OTHER = {"Manufacturer": "Siemens", "MagneticFieldStrength": 1.5}


@pytest.mark.parametrize(
    ("fields", "labels", "expected"),
    [
        ((SAME, OTHER), ("Tokyo", "Osaka"), ["Osaka", "Tokyo"]),
        ((SAME, SAME), ("preop", "postop"), [None, None]),
        ((SAME, None), ("ketamine", "placebo"), [None, None]),
        ((None, None), ("Tokyo", "Osaka"), [None, None]),
        ((SAME, OTHER), ("01", "02"), [None, None]),
    ],
)
def test_sessions_are_sites_only_where_scanners_say_so(skeleton, fields, labels, expected):
    for label, content in zip(labels, fields, strict=True):
        skeleton.scan(f"sub-01_ses-{label}_T1w.nii.gz", content)
        skeleton.scan(f"sub-02_ses-{label}_T1w.nii.gz", content)
    sessions = find_sessions(skeleton.root, participant_labels=["01"])
    table = assign_sites(skeleton.root, sessions, "auto")
    assert [scan.site for scan in table.scans] == expected
    text = table.format_table()
    if labels != ("01", "02"):
        assert ("count as sites" in text) == (expected[0] is not None)
        assert ("--site-from entity:ses" in text) == (expected[0] is None)
    named = assign_sites(skeleton.root, sessions, "entity:ses")
    assert {scan.site for scan in named.scans} == set(labels)


def test_one_subject_of_a_session_on_another_scanner_makes_it_a_visit_for_everybody(skeleton):
    for subject, preop, postop in (("01", SAME, OTHER), ("02", SAME, SAME)):
        skeleton.scan(f"sub-{subject}_ses-preop_T1w.nii.gz", preop)
        skeleton.scan(f"sub-{subject}_ses-postop_T1w.nii.gz", postop)
    one = find_sessions(skeleton.root, participant_labels=["01"])
    assert {scan.site for scan in assign_sites(skeleton.root, one, "auto").scans} == {None}


@pytest.mark.parametrize(
    ("rows", "site"),
    [
        ("sub-01\tA\t1\nsub-01\tA\t2\n", "A"),
        ("sub-01\tA\t1\nsub-01\tB\t2\n", None),
        ("sub-01\tn/a\t1\nsub-01\tB\t2\n", "B"),
    ],
)
def test_rows_that_contradict_each_other_name_no_site(skeleton, caplog, rows, site):
    skeleton.scan("sub-01_T1w.nii.gz")
    skeleton.write("participants.tsv", f"participant_id\tsite\tage\n{rows}")
    for where in ("auto", "participants:site"):
        assert sites(skeleton, where) == {"sub-01_T1w": site}
    assert ("contradict each other" in caplog.text) == (site is None)


def test_a_table_with_a_row_a_session_is_read_by_session(skeleton):
    skeleton.scan("sub-01_ses-1_T1w.nii.gz")
    skeleton.scan("sub-01_ses-2_T1w.nii.gz")
    skeleton.write("participants.tsv", "participant_id\tsession_id\tsite\n01\tses-1\tA\n01\t2\tB\n")
    assert list(sites(skeleton).values()) == ["A", "B"]


def test_ids_that_lost_their_zeros_are_said(skeleton, caplog):
    skeleton.scan("sub-01_T1w.nii.gz")
    skeleton.write("participants.tsv", "participant_id\tsite\n1\tA\n")
    assert sites(skeleton) == {"sub-01_T1w": None}
    assert "has no row of sub-01, only one of '1'" in caplog.text


def test_table_and_file_show_unknown_sites_last_as_na(two, tmp_path):
    two.write("participants.tsv", "participant_id\tsite\nsub-02\tZ\n")
    table = assign_sites(two.root, find_sessions(two.root), "auto")
    assert table.format_table() == (
        "Sites read from participants:site (1 scan)\nsite  T1w  T2w\nZ     1    0\nn/a   1    1"
    )
    table.write_tsv(tmp_path / "sites.tsv")
    with (tmp_path / "sites.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [(row["participant_id"], row["filename"], row["site"]) for row in rows] == [
        ("sub-01", "sub-01_T1w.nii.gz", "n/a"),
        ("sub-01", "sub-01_T2w.nii.gz", "n/a"),
        ("sub-02", "sub-02_T1w.nii.gz", "Z"),
    ]
