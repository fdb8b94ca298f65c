import pytest

from bids_mmh.bids.ignore import ignored_in


@pytest.mark.parametrize(
    ("patterns", "ignored"),
    [
        ("", set()),
        ("# sub-02\n\n", set()),
        ("sub-02/", {"sub-02/anat/sub-02_T1w.nii", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii"}),
        ("/sub-02", {"sub-02/anat/sub-02_T1w.nii", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii"}),
        ("/anat", set()),
        ("sub-02/*/sub-02_T1w.nii", {"sub-02/anat/sub-02_T1w.nii"}),
        ("sub-02/**/*_T1w.nii", {"sub-02/anat/sub-02_T1w.nii", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii"}),
        ("*ses-?_T1w.nii", {"sub-02/ses-1/anat/sub-02_ses-1_T1w.nii"}),
        ("*_T[!2]w.nii\n!sub-01_T1w.nii", {
            "sub-02/anat/sub-02_T1w.nii", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii"}),
        ("sub-02\n!sub-02/anat/sub-02_T1w.nii", {
            "sub-02/anat/sub-02_T1w.nii", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii"}),
        ("[z-a]\nsub-01_T1w.nii\r\n", {"sub-01/anat/sub-01_T1w.nii"}),
    ],
)  # fmt: skip
def test_patterns_are_those_of_git(tmp_path, patterns, ignored):
    (tmp_path / ".bidsignore").write_text(patterns, newline="")
    names = [
        "sub-01/anat/sub-01_T1w.nii",
        "sub-02/anat/sub-02_T1w.nii",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii",
    ]
    listed = ignored_in(tmp_path)
    assert {name for name in names if listed(tmp_path / name)} == ignored


def test_without_the_file_nothing_is_ignored(tmp_path):
    assert not ignored_in(tmp_path)(tmp_path / "sub-01" / "a.nii")
