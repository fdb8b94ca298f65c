from pathlib import Path

import pytest

from bids_mmh.bids.session import Scan
from bids_mmh.derivatives.external_derivatives import (
    FoundFile,
    Precomputed,
    check_datasets,
    find_precomputed,
    only_standard,
)
from bids_mmh.errors import NoInputError, UsageError

SPACE = "MNI152NLin2009cAsym"
T1W = Scan(Path("/raw/T1w.nii.gz"), "T1w", {"subject": "01", "session": "A", "run": "1", "suffix": "T1w"})
T2W = Scan(Path("/raw/T2w.nii.gz"), "T2w", {"subject": "01", "session": "A", "suffix": "T2w"})


@pytest.fixture
def dataset(tmp_path):
    """Make empty files of a derivative dataset and give its root; without a folder, that of the session."""

    def make(*names, root="d", folder="sub-01/ses-A/anat"):
        for name in names:
            (tmp_path / root / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / root / folder / name).touch()
        return tmp_path / root

    return make


def names(given):
    """File names of what was found, by kind."""
    kinds = ("preproc", "mask", "to_template", "to_anchor", "standard", "standard_mask")
    return {kind: getattr(given, kind).path.name for kind in kinds if getattr(given, kind)}


def test_what_fmriprep_leaves_is_found_and_its_warps_are_not(dataset):
    stem = "sub-01_ses-A_run-1"
    root = dataset(
        f"{stem}_desc-preproc_T1w.nii.gz",
        f"{stem}_desc-preproc_T1w.json",
        f"{stem}_desc-brain_mask.nii.gz",
        f"{stem}_dseg.nii.gz",
        f"{stem}_label-GM_probseg.nii.gz",
        f"{stem}_from-T1w_to-{SPACE}_mode-image_xfm.h5",
        f"{stem}_space-{SPACE}_desc-preproc_T1w.nii.gz",
        f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz",
        f"{stem}_space-MNI152NLin6Asym_desc-preproc_T1w.nii.gz",
    )
    given = find_precomputed(T1W, T1W, SPACE, {"fmriprep": root})
    assert names(given) == {
        "preproc": f"{stem}_desc-preproc_T1w.nii.gz",
        "mask": f"{stem}_desc-brain_mask.nii.gz",
        "standard": f"{stem}_space-{SPACE}_desc-preproc_T1w.nii.gz",
        "standard_mask": f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz",
    }
    assert given.mask.uri == f"bids:fmriprep:sub-01/ses-A/anat/{stem}_desc-brain_mask.nii.gz"
    assert len(given.files()) == 4


def test_another_run_of_this_program_is_found_for_both_scans(dataset):
    stem = "sub-01_ses-A"
    root = dataset(
        f"{stem}_desc-preproc_T2w.nii.gz",
        f"{stem}_desc-brainT2w_mask.nii.gz",
        f"{stem}_from-T2w_to-T1w_mode-image_xfm.txt",
        f"{stem}_from-T2w_to-{SPACE}_mode-image_xfm.txt",
        f"{stem}_run-1_desc-brain_mask.nii.gz",
        f"{stem}_run-1_from-T1w_to-{SPACE}_mode-image_xfm.txt",
    )
    follower = names(find_precomputed(T2W, T1W, SPACE, {"mmh": root}))
    # The anchor's mask is not the T2w's: they lie on other voxels.
    assert follower["mask"] == f"{stem}_desc-brainT2w_mask.nii.gz"
    assert follower["to_anchor"] == f"{stem}_from-T2w_to-T1w_mode-image_xfm.txt"
    anchor = names(find_precomputed(T1W, T1W, SPACE, {"mmh": root}))
    assert anchor["to_template"] == f"{stem}_run-1_from-T1w_to-{SPACE}_mode-image_xfm.txt"
    assert "to_anchor" not in anchor


def test_a_t2w_that_stands_alone_takes_the_plain_mask(dataset):
    root = dataset("sub-01_ses-A_desc-brain_mask.nii.gz")
    assert "mask" in names(find_precomputed(T2W, T2W, SPACE, {"mine": root}))
    assert "mask" not in names(find_precomputed(T2W, T1W, SPACE, {"mine": root}))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("sub-02_ses-A_desc-brain_mask.nii.gz", "sub-02/ses-A/anat"),
        ("sub-01_ses-B_desc-brain_mask.nii.gz", "sub-01/ses-B/anat"),
        ("sub-01_ses-A_run-2_desc-brain_mask.nii.gz", "sub-01/ses-A/anat"),
        ("sub-01_ses-A_acq-x_desc-brain_mask.nii.gz", "sub-01/ses-A/anat"),
        ("sub-01_desc-brain_mask.nii.gz", "sub-01/anat"),  # an average of sessions, or nobody knows
    ],
)
def test_another_scans_files_are_left_alone(dataset, name, folder):
    assert find_precomputed(T1W, T1W, SPACE, {"d": dataset(name, folder=folder)}).files() == []


def test_the_closest_name_and_the_first_dataset_win(dataset):
    first = dataset("sub-01_ses-A_desc-brain_mask.nii.gz", "sub-01_ses-A_run-1_desc-brain_mask.nii.gz")
    second = dataset("sub-01_ses-A_run-1_desc-brain_mask.nii.gz", root="other")
    given = find_precomputed(T1W, T1W, SPACE, {"first": first, "second": second})
    assert given.mask.uri == "bids:first:sub-01/ses-A/anat/sub-01_ses-A_run-1_desc-brain_mask.nii.gz"


def test_two_that_fit_equally_are_for_the_user_to_choose(dataset):
    root = dataset("sub-01_ses-A_desc-brain_mask.nii.gz", "sub-01_ses-A_desc-brain_mask.nii")
    with pytest.raises(UsageError, match="both fit"):
        find_precomputed(T1W, T1W, SPACE, {"d": root})


def test_folders_that_are_no_datasets_are_refused(dataset, tmp_path):
    check_datasets({"d": dataset("x.nii")})
    with pytest.raises(NoInputError, match="does not exist"):
        check_datasets({"none": tmp_path / "none"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError, match="no sub-"):
        check_datasets({"empty": tmp_path / "empty"})


def test_images_in_template_space_are_for_whole_sessions_that_have_nothing_better():
    file = FoundFile(Path("/d/x"), "bids:d:x")
    standard = Precomputed(standard=file, standard_mask=file)
    complete = Precomputed(preproc=file, mask=file, to_template=file, standard=file, standard_mask=file)
    assert only_standard([standard, standard])
    assert only_standard([standard, complete])
    assert not only_standard([complete, complete])
    assert not only_standard([standard, Precomputed(standard=file)])
