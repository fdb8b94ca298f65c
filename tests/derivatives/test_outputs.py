import re
from pathlib import Path

import pytest

import bids_mmh
from bids_mmh.derivatives.outputs import LABELS, OUTPUTS, mask_label, outputs_table
from bids_mmh.derivatives.sidecar import FIELDS

PACKAGE = Path(bids_mmh.__file__).parent
DOCS = PACKAGE.parent / "docs" / "outputs.md"
SCAN = {"subject": "01", "session": "A", "run": "2", "suffix": "T1w"}
VALUES = {"sequence": "T1w", "space": "MNI", "res": "1", "brain": "brain", "anchor": "T1w"}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("mni_preproc", "sub-01_ses-A_run-2_space-MNI_res-1_desc-preproc_T1w.nii.gz"),
        ("native_mask", "sub-01_ses-A_run-2_desc-brain_mask.nii.gz"),
        ("to_template", "sub-01_ses-A_run-2_from-T1w_to-MNI_mode-image_xfm.txt"),
    ],
)
def test_files_of_a_scan_lie_in_its_session(key, name):
    assert OUTPUTS[key].path(Path("/out"), SCAN, **VALUES) == Path("/out/sub-01/ses-A/anat") / name


def test_files_of_a_study_lie_where_the_pattern_says():
    assert OUTPUTS["group_table"].path(Path("/out"), sequence="T2w") == Path("/out/group_T2w_table.tsv")
    assert OUTPUTS["page"].path(Path("/out"), session="sub-01_ses-A").name == "sub-01_ses-A.html"


def test_labels_are_what_tells_a_file_from_the_raw_scan():
    assert OUTPUTS["mni_mask"].labels(**VALUES) == {"space": "MNI", "res": "1", "desc": "brain"}
    assert OUTPUTS["native_preproc"].labels(**VALUES) == {"desc": "preproc"}


def test_every_label_is_described_and_every_sidecar_belongs_to_an_output():
    images = [output for output in OUTPUTS.values() if output.pattern.endswith(".nii.gz")]
    assert set(FIELDS) == {output.key for output in images}
    used = {
        output.labels(**VALUES | {"brain": mask_label(anchor, "T2w")})["desc"]
        for output in images
        for anchor in (True, False)
    }
    assert used == set(LABELS)


def test_writers_exist():
    for output in OUTPUTS.values():
        place = PACKAGE.joinpath(*output.written_by.split("."))
        assert place.is_dir() or place.with_suffix(".py").is_file(), output.key


def test_the_documentation_shows_this_registry():
    found = re.search(r"<!-- outputs -->\n(.*?)\n<!-- /outputs -->", DOCS.read_text(encoding="utf-8"), re.S)
    assert found, "docs/outputs.md lacks <!-- outputs --> ... <!-- /outputs -->"
    assert found[1] == outputs_table(), f"put this into docs/outputs.md:\n{outputs_table()}"
