import csv
import logging

import pytest

from bids_mmh.bids.inputs import find_sessions
from bids_mmh.bids.sites import assign_sites
from bids_mmh.errors import BadDataError, UsageError


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
        "sub-04_ses-Tokyo_T1w": "Tokyo",
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


def test_a_broken_sidecar_is_named(two):
    two.write("sub-01/anat/sub-01_T1w.json", "{")
    with pytest.raises(BadDataError, match=r"sub-01_T1w\.json is not valid JSON"):
        sites(two)


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
