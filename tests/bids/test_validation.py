import logging
import sys

import pytest

from bids_mmh.bids.validation import check_dataset
from bids_mmh.errors import InvalidBidsError, NoInputError


def test_a_valid_dataset_passes(skeleton):
    skeleton.scan("sub-01_T1w.nii.gz")
    check_dataset(skeleton.root)


def test_errors_are_counted_and_the_first_named(skeleton):
    skeleton.scan("sub-01_T1w.nii.gz")
    skeleton.write("sub-01/anat/sub-01_T1weighted.nii.gz", "x")
    skeleton.write("sub-01/anat/notes.docx", "x")
    with pytest.raises(InvalidBidsError) as caught:
        check_dataset(skeleton.root)
    sentence = str(caught.value)
    assert str(skeleton.root) in sentence
    assert "errors: " in sentence
    assert "sub-01_T1weighted.nii.gz" in sentence or "notes.docx" in sentence
    assert "--skip-bids-validation" in sentence
    assert "\n" not in sentence
    check_dataset(skeleton.root, skip_validation=True)


def test_missing_file_and_empty_folder_are_no_input(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, sentence in (("none", "does not exist"), ("empty", "is empty"), ("file", "is a file")):
        with pytest.raises(NoInputError, match=sentence):
            check_dataset(tmp_path / name, skip_validation=True)


def test_a_folder_without_description_is_not_bids(tmp_path):
    (tmp_path / "sub-01").mkdir()
    with pytest.raises(InvalidBidsError, match="no dataset_description"):
        check_dataset(tmp_path)


def test_without_a_validator_the_run_goes_on(skeleton, monkeypatch, caplog, tmp_path):
    skeleton.write("sub-01/anat/notes.docx", "x")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with caplog.at_level(logging.WARNING):
        check_dataset(skeleton.root)
    assert "could not run" in caplog.text


def test_what_is_wrong_with_other_subjects_does_not_matter(skeleton):
    skeleton.scan("sub-01_T1w.nii.gz")
    skeleton.scan("sub-02_T1w.nii.gz")
    skeleton.write("sub-02/anat/sub-02_T1w.json", "{")
    check_dataset(skeleton.root, participant_labels=["01"])
    for labels in ([], ["02"], ["01", "02"]):
        with pytest.raises(InvalidBidsError, match="JSON_INVALID"):
            check_dataset(skeleton.root, participant_labels=labels)


@pytest.mark.parametrize("labels", [[], ["01"]])
def test_links_without_content_are_left_to_the_reader_of_the_scan(skeleton, labels):
    skeleton.scan("sub-01_T1w.nii.gz")
    skeleton.write("sub-02/anat/sub-02_T1w.json", "{}")
    (skeleton.root / "sub-02/anat/sub-02_T1w.nii.gz").symlink_to("../../.git/annex/objects/xx")
    check_dataset(skeleton.root, participant_labels=labels)
    skeleton.write("sub-01/anat/notes.docx", "x")
    with pytest.raises(InvalidBidsError, match=r"notes\.docx"):
        check_dataset(skeleton.root, participant_labels=labels)
