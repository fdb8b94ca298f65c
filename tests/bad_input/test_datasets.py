"""Datasets, tables and folders that are not what they should be: looked at by a run that reads no image."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

DRY = ("--boilerplate-only",)


@pytest.fixture
def raw(tmp_path) -> Path:
    """Two subjects with a T1w each; their images are never read here."""
    root = tmp_path / "raw"
    for subject in ("01", "02"):
        folder = root / f"sub-{subject}" / "anat"
        folder.mkdir(parents=True)
        nib.save(
            nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), folder / f"sub-{subject}_T1w.nii.gz"
        )
    description = {"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("A dataset made by a test, long enough for the validator to be content.")
    return root


def sites(out: Path) -> dict[str, str]:
    (table,) = (out / "logs").glob("*_sites.tsv")
    header, *rows = (line.split("\t") for line in table.read_text().splitlines())
    return {row[header.index("participant_id")]: row[header.index("site")] for row in rows}


TABLES = {
    "byte order mark": ("participant_id\tsite\nsub-01\tA\nsub-02\tB\n".encode("utf-8-sig"), ["A", "B"]),
    "line ends of Windows": (b"participant_id\tsite\r\nsub-01\tA\r\nsub-02\tB\r\n", ["A", "B"]),
    "line ends of old Macs": (b"participant_id\tsite\rsub-01\tA\rsub-02\tB\r", ["A", "B"]),
    "a lonely quotation mark": (b'participant_id\tnote\tsite\nsub-01\t"x\tA\nsub-02\ty\tB\n', ["A", "B"]),
    "a site in quotation marks": (b'participant_id\tsite\nsub-01\t"A"\nsub-02\tB\n', ['"A"', "B"]),
    "ids without sub-": (b"participant_id\tsite\n01\tA\n02\tB\n", ["A", "B"]),
    "ids that are numbers": (b"participant_id\tsite\n1\tA\n2\tB\n", ["n/a", "n/a"]),
    "a missing row": (b"participant_id\tsite\nsub-01\tA\n", ["A", "n/a"]),
    "a row twice": (b"participant_id\tsite\nsub-01\tA\nsub-01\tA\nsub-02\tB\n", ["A", "B"]),
    "rows that contradict": (b"participant_id\tsite\nsub-01\tA\nsub-01\tC\nsub-02\tB\n", ["n/a", "B"]),
    "empty and n/a": (b"participant_id\tsite\nsub-01\t\nsub-02\tn/a\n", ["n/a", "n/a"]),
    "a tab too many": (b"participant_id\tnote\tsite\nsub-01\ta\tb\tA\nsub-02\ty\tB\n", ["n/a", "B"]),
    "trailing tabs": (b"participant_id\tsite\t\t\nsub-01\tA\t\t\nsub-02\tB\n", ["A", "B"]),
    "no column of ids": (b"id\tsite\nsub-01\tA\nsub-02\tB\n", ["n/a", "n/a"]),
    "nothing": (b"", ["n/a", "n/a"]),
    "markup": (b"participant_id\tsite\nsub-01\t<script>alert(1)</script>\nsub-02\t=1+1\n",
               ["<script>alert(1)</script>", "=1+1"]),
    "a path and a formula": (b"participant_id\tsite\nsub-01\t../x\nsub-02\tA$\\foo$\n",
                             ["../x", "A$\\foo$"]),
    "an emoji": ("participant_id\tsite\nsub-01\t🏥\nsub-02\tZürich\n".encode(), ["🏥", "Zürich"]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "found"), TABLES.values(), ids=TABLES)
def test_tables_of_participants(raw, tmp_path, run, content, found):
    (raw / "participants.tsv").write_bytes(content)
    assert run(raw, tmp_path / "out", *DRY).code == 0
    assert list(sites(tmp_path / "out").values()) == found


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
def test_a_table_in_another_encoding(raw, tmp_path, run, encoding):
    (raw / "participants.tsv").write_bytes("participant_id\tsite\nsub-01\tZürich\n".encode(encoding))
    outcome = run(raw, tmp_path / "out", *DRY)
    assert outcome.code == 65
    (sentence,) = outcome.errors
    assert "participants.tsv is not UTF-8 text" in sentence


def named(raw: Path, old: str, new: str) -> None:
    (raw / "sub-01" / "anat" / f"sub-01{old}_T1w.nii.gz").rename(
        raw / "sub-01" / "anat" / f"sub-01{new}_T1w.nii.gz"
    )


@pytest.mark.parametrize(
    "entity", ["part-phase", "part-imag", "inv-1", "mt-on", "acq-MTon", "space-MNI", "desc-x", "chunk-1"]
)
def test_images_that_are_not_ordinary(raw, tmp_path, run, entity):
    named(raw, "", f"_{entity}")
    outcome = run(raw, tmp_path / "out", *DRY)
    assert outcome.code == 0
    assert f"Leaving out sub-01_{entity}_T1w.nii.gz" in outcome.text
    assert list(sites(tmp_path / "out")) == ["sub-02"]
    alone = run(raw, tmp_path / "alone", "--participant-label", "01", *DRY)
    assert alone.code == 18


def test_what_bidsignore_lists(raw, tmp_path, run):
    (raw / ".bidsignore").write_text("sub-01/\n")
    outcome = run(raw, tmp_path / "out", *DRY)
    assert (outcome.code, list(sites(tmp_path / "out"))) == (0, ["sub-02"])


@pytest.mark.parametrize("validate", [False, True])
def test_one_of_two_subjects_is_a_link_without_content(raw, tmp_path, run, validate):
    path = raw / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    path.unlink()
    path.symlink_to("../../.git/annex/objects/xx")
    path.with_name("sub-02_T1w.json").write_text("{}")
    outcome = run(raw, tmp_path / "out", "--participant-label", "01", *DRY, validate=validate)
    assert (outcome.code, outcome.errors) == (0, [])


def test_the_table_is_a_link_without_content(raw, tmp_path, run):
    (raw / "participants.tsv").symlink_to(".git/annex/objects/xx")
    outcome = run(raw, tmp_path / "out", *DRY)
    assert outcome.code == 65
    assert "participants.tsv cannot be read" in outcome.errors[0]


FOLDERS = {
    "dataset": ("raw", 73, "is the dataset itself"),
    "inside the dataset": ("raw/out", 73, "would no longer be valid BIDS"),
    "inside a subject": ("raw/sub-01/out", 73, "would no longer be valid BIDS"),
    "in derivatives": ("raw/derivatives/mmh", 0, None),
    "not empty": ("mine", 73, "mine holds files that are not of bids-mmh (.bidsignore, README)"),
    "another program's": ("other", 73, "belongs to another dataset (fMRIPrep)"),
    "above the dataset": (".", 73, "holds files that are not of bids-mmh"),
    "spaces and letters": ("my öutput [x] $HOME 🏥", 0, None),
    "logs of a run that was stopped": ("stopped", 0, None),
    "long": ("/".join(["a" * 60] * 8), 0, None),
}


@pytest.mark.parametrize(("name", "code", "sentence"), FOLDERS.values(), ids=FOLDERS)
def test_output_folders(raw, tmp_path, run, name, code, sentence):
    for folder in ("mine", "other", "stopped/logs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "mine" / "README").write_text("mine")
    (tmp_path / "mine" / ".bidsignore").write_text("mine")
    (tmp_path / "other" / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outcome = run(raw, tmp_path / name, *DRY)
    assert outcome.code == code
    if sentence:
        assert sentence in outcome.errors[0]
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["w[x]", "w*", "w?"])
def test_work_folders_that_are_patterns(raw, tmp_path, run, name):
    outcome = run(raw, tmp_path / "out", "-w", str(tmp_path / name), *DRY)
    assert outcome.code == 64
    assert "--work-dir" in outcome.errors[0]


def test_a_work_folder_in_the_output_folder(raw, tmp_path, run):
    for _ in range(2):
        assert run(raw, tmp_path / "out", "-w", str(tmp_path / "out" / "work"), *DRY).code == 0


def test_a_dataset_inside_a_dataset_is_not_read(raw, tmp_path, run):
    (raw / "sub-02").rename(tmp_path / "sub-02")
    (raw / "sub-01" / "raw").mkdir()
    (tmp_path / "sub-02").rename(raw / "sub-01" / "raw" / "sub-02")
    assert run(raw, tmp_path / "out", *DRY).code == 0
    assert list(sites(tmp_path / "out")) == ["sub-01"]


def test_sessions_of_a_treatment_are_no_sites(raw, tmp_path, run):
    for session in ("preop", "postop"):
        folder = raw / "sub-03" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)),
                 folder / f"sub-03_ses-{session}_T1w.nii.gz")  # fmt: skip
    outcome = run(raw, tmp_path / "out", *DRY)
    assert outcome.code == 0
    assert set(sites(tmp_path / "out").values()) == {"n/a"}
    assert "The sessions postop, preop count as visits, not sites" in outcome.text


@pytest.mark.parametrize(
    "label", [b"Z\xfcrich", "Zürich".encode(), b"a.b", b"a b", b"a+b", b"<i>", b"$HOME"], ids=repr
)
def test_labels_that_bids_does_not_know_stop_nobody_else(raw, tmp_path, run, label):
    folder = Path(os.fsdecode(bytes(raw) + b"/sub-" + label + b"/anat"))
    folder.mkdir(parents=True)
    image = os.fsdecode(b"sub-" + label + b"_T1w.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), folder / "x.nii.gz")
    (folder / "x.nii.gz").rename(folder / image)
    outcome = run(raw, tmp_path / "out", *DRY)
    assert outcome.code in {0, 65}
    assert {"sub-01", "sub-02"} <= set(sites(tmp_path / "out"))
    before = {path.name for path in tmp_path.iterdir()}
    assert before <= {"raw", "out"}


def test_a_path_that_is_no_utf_8_is_refused(raw, tmp_path, run):
    outcome = run(raw, Path(os.fsdecode(bytes(tmp_path) + b"/\xfc")), *DRY)
    assert outcome.code == 64
    assert "is not UTF-8: rename it" in outcome.errors[0]
