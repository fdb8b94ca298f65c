import logging

import pytest

from bids_mmh.bids.inputs import find_sessions
from bids_mmh.errors import NoInputError, NoMatchError


def names(sessions):
    return {session.label: [scan.path.name for scan in session.scans] for session in sessions}


def test_sessions_are_never_merged_and_may_lack_a_sequence(skeleton):
    for name in (
        "sub-01_ses-A_T1w.nii.gz",
        "sub-01_ses-A_T2w.nii",
        "sub-01_ses-B_T1w.nii.gz",
        "sub-02_T2w.nii.gz",
        "sub-02_FLAIR.nii.gz",
    ):
        skeleton.scan(name)
    assert names(find_sessions(skeleton.root)) == {
        "sub-01_ses-A": ["sub-01_ses-A_T1w.nii.gz", "sub-01_ses-A_T2w.nii"],
        "sub-01_ses-B": ["sub-01_ses-B_T1w.nii.gz"],
        "sub-02": ["sub-02_T2w.nii.gz"],
    }
    flair = find_sessions(skeleton.root, sequences=["FLAIR", "T2w"], participant_labels=["02"])
    assert names(flair) == {"sub-02": ["sub-02_FLAIR.nii.gz", "sub-02_T2w.nii.gz"]}


def test_entities_are_spelled_as_in_the_name(skeleton):
    skeleton.scan("sub-01_ses-A_acq-mprage_run-02_T1w.nii.gz")
    (session,) = find_sessions(skeleton.root)
    (scan,) = session.scans
    assert (session.subject, session.session, scan.sequence, scan.site) == ("01", "A", "T1w", None)
    assert scan.entities["run"] == "02"
    assert scan.entities["acquisition"] == "mprage"
    assert scan.path.is_absolute() and scan.path.is_file()


@pytest.mark.parametrize(
    ("scans", "first"),
    [
        (["sub-01_run-2_T1w.nii.gz", "sub-01_run-1_T1w.nii.gz"], "sub-01_run-1_T1w.nii.gz"),
        (["sub-01_run-10_T1w.nii.gz", "sub-01_run-9_T1w.nii.gz"], "sub-01_run-9_T1w.nii.gz"),
        (["sub-01_ce-gad_T1w.nii.gz", "sub-01_run-3_T1w.nii.gz"], "sub-01_run-3_T1w.nii.gz"),
        (["sub-01_acq-b_run-1_T1w.nii.gz", "sub-01_acq-a_run-2_T1w.nii.gz"], "sub-01_acq-a_run-2_T1w.nii.gz"),
    ],
)
def test_one_scan_a_sequence_and_a_word_on_the_others(skeleton, caplog, scans, first):
    for name in scans:
        skeleton.scan(name)
    with caplog.at_level(logging.WARNING):
        assert names(find_sessions(skeleton.root)) == {"sub-01": [first]}
    assert "leaving out" in caplog.text
    assert next(name for name in scans if name != first) in caplog.text
    assert sorted(names(find_sessions(skeleton.root, all_runs=True))["sub-01"]) == sorted(scans)


def test_a_copy_in_the_other_compression_is_left_out_even_with_all_runs(skeleton):
    skeleton.scan("sub-01_T1w.nii")
    skeleton.scan("sub-01_T1w.nii.gz")
    assert names(find_sessions(skeleton.root, all_runs=True)) == {"sub-01": ["sub-01_T1w.nii.gz"]}


def test_labels_select(skeleton):
    for name in ("sub-01_ses-A_T1w.nii.gz", "sub-01_ses-B_T1w.nii.gz", "sub-011_ses-A_T1w.nii.gz"):
        skeleton.scan(name)
    assert set(names(find_sessions(skeleton.root, participant_labels=["01"]))) == {
        "sub-01_ses-A",
        "sub-01_ses-B",
    }
    assert set(names(find_sessions(skeleton.root, session_labels=["A"]))) == {
        "sub-01_ses-A",
        "sub-011_ses-A",
    }


def test_filters_select_by_sequence(skeleton):
    for name in ("sub-01_acq-low_T1w.nii.gz", "sub-01_acq-high_T1w.nii.gz", "sub-01_T2w.nii.gz"):
        skeleton.scan(name)
    found = find_sessions(skeleton.root, filters={"T1w": {"acquisition": "low"}})
    assert names(found) == {"sub-01": ["sub-01_acq-low_T1w.nii.gz", "sub-01_T2w.nii.gz"]}


def test_unknown_labels_are_named_beside_those_there_are(skeleton):
    skeleton.scan("sub-01_ses-A_T1w.nii.gz")
    with pytest.raises(NoMatchError, match=r"No participant 07, 09 in .*there are 1, such as 01"):
        find_sessions(skeleton.root, participant_labels=["07", "01", "09"])
    with pytest.raises(NoMatchError, match=r"No session C in .*such as A"):
        find_sessions(skeleton.root, session_labels=["C"])


def test_nothing_left_is_no_match_but_nothing_there_is_no_input(skeleton):
    skeleton.scan("sub-01_FLAIR.nii.gz")
    with pytest.raises(NoInputError, match="no T1w or T2w image"):
        find_sessions(skeleton.root)
    with pytest.raises(NoMatchError, match="filters"):
        find_sessions(skeleton.root, participant_labels=["01"])
    with pytest.raises(NoMatchError, match="filters"):
        find_sessions(skeleton.root, sequences=["FLAIR"], filters={"FLAIR": {"run": 1}})


def test_other_folders_are_not_read(skeleton):
    skeleton.scan("sub-01_T1w.nii.gz")
    for folder in ("derivatives/x/sub-01/anat", "sourcedata/sub-09/anat", "sub-01/func"):
        (skeleton.root / folder).mkdir(parents=True)
        (skeleton.root / folder / "sub-09_T1w.nii.gz").touch()
    assert names(find_sessions(skeleton.root)) == {"sub-01": ["sub-01_T1w.nii.gz"]}


def test_names_above_the_dataset_do_not_count(skeleton, tmp_path):
    folder = tmp_path / "sub-99" / "ses-Z" / "func" / ".hidden" / "derivatives"
    folder.mkdir(parents=True)
    skeleton.root = skeleton.root.rename(folder / "raw")
    skeleton.scan("sub-01_ses-A_T1w.nii.gz")
    assert set(names(find_sessions(skeleton.root))) == {"sub-01_ses-A"}


def test_the_database_is_reused_and_sees_new_scans(skeleton, tmp_path):
    skeleton.scan("sub-01_T1w.nii.gz")
    database = tmp_path / "database"
    first = find_sessions(skeleton.root, database_dir=database)
    assert len(list(database.iterdir())) == 1
    assert find_sessions(skeleton.root, database_dir=database) == first
    assert len(list(database.iterdir())) == 1
    skeleton.scan("sub-02_T1w.nii.gz")
    assert set(names(find_sessions(skeleton.root, database_dir=database))) == {"sub-01", "sub-02"}
    skeleton.scan("sub-01_T2w.nii.gz")
    found = find_sessions(skeleton.root, database_dir=database, participant_labels=["01"])
    assert names(found) == {"sub-01": ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"]}


@pytest.mark.parametrize(
    ("others", "taken"),
    [
        (["part-imag", "part-mag", "part-phase"], "sub-01_part-mag_T1w.nii.gz"),
        (["part-phase"], None),
        (["part-phase", "run-2"], "sub-01_run-2_T1w.nii.gz"),
        (["inv-1", "inv-2"], None),
        (["acq-MTon", "acq-MToff"], "sub-01_acq-MToff_T1w.nii.gz"),
        (["mt-on", "mt-off"], "sub-01_mt-off_T1w.nii.gz"),
        (["space-MNI152NLin6Asym", "desc-defaced", "label-brain", "chunk-1"], None),
    ],
)
def test_images_that_are_not_ordinary_are_never_taken(skeleton, caplog, others, taken):
    skeleton.scan("sub-02_T1w.nii.gz")
    for other in others:
        skeleton.scan(f"sub-01_{other}_T1w.nii.gz")
    for all_runs in (False, True):
        found = names(find_sessions(skeleton.root, all_runs=all_runs))
        assert found.pop("sub-02") == ["sub-02_T1w.nii.gz"]
        assert found == ({"sub-01": [taken]} if taken else {})
    assert "Leaving out sub-01_" in caplog.text


def test_a_filter_takes_an_inversion_image_but_never_a_phase(skeleton):
    skeleton.scan("sub-01_inv-2_T1w.nii.gz")
    skeleton.scan("sub-01_part-phase_T1w.nii.gz")
    found = find_sessions(skeleton.root, filters={"T1w": {"inv": 2}})
    assert names(found) == {"sub-01": ["sub-01_inv-2_T1w.nii.gz"]}
    with pytest.raises(NoMatchError, match="2 are left out"):
        find_sessions(skeleton.root, filters={"T1w": {"part": "phase"}})


def test_unit1_is_no_t1w(skeleton):
    skeleton.scan("sub-01_UNIT1.nii.gz")
    with pytest.raises(NoInputError, match="no T1w or T2w image"):
        find_sessions(skeleton.root)


def test_what_bidsignore_lists_is_not_taken(skeleton, caplog):
    skeleton.scan("sub-01_T1w.nii.gz")
    skeleton.scan("sub-01_acq-real_T1w.nii.gz")
    skeleton.write(".bidsignore", "**/sub-01_T1w.nii.gz\n")
    assert names(find_sessions(skeleton.root)) == {"sub-01": ["sub-01_acq-real_T1w.nii.gz"]}
    assert "Leaving out sub-01_T1w.nii.gz: .bidsignore lists it." in caplog.text


def test_names_that_differ_in_no_entity_give_one_scan(skeleton):
    skeleton.scan("sub-01_foo-a_T1w.nii.gz")
    skeleton.scan("sub-01_foo-b_T1w.nii.gz")
    assert names(find_sessions(skeleton.root, all_runs=True)) == {"sub-01": ["sub-01_foo-a_T1w.nii.gz"]}
