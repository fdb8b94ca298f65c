from pathlib import Path

import pytest
from bids.layout import BIDSLayout, BIDSLayoutIndexer, parse_file_entities
from bids.layout.models import Config

from bids_mmh.bids.index import anatomical_images, raw_entities

NAMES = (
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/ses-A/anat/sub-01_ses-A_acq-mprage+x_run-02_T1w.nii",
    "sub-01/ses-A/anat/sub-01_ses-A_acq-B_ce-gad_rec-norm_echo-1_part-mag_inv-2_mt-off_T2w.nii.gz",
    "sub-01/ses-A/anat/sub-02_ses-B_T1w.nii.gz",  # the folders say whose it is
    "sub-01/anat/sub-01_run-1b_part-polar_foo-a_T1w.nii.gz",
    "sub-01/anat/sub-01_space-MNI_chunk-3_desc-x_T1w.nii.gz",
    "sub-01/anat/sub-01_acq-a-b_T1w.nii.gz",
)


@pytest.mark.parametrize("name", NAMES)
def test_entities_are_those_of_pybids(name):
    found = parse_file_entities(f"/{name}", config=[Config.load("bids")])
    assert raw_entities(Path(name)) == {key: str(value) for key, value in found.items()}


def test_images_are_those_of_pybids(tmp_path):
    others = (
        "sub-01/func/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
    )
    for name in (*NAMES, *others):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "sub-02" / "anat").mkdir(parents=True)
    (tmp_path / "sub-02" / "anat" / "sub-02_T1w.nii.gz").symlink_to("not fetched")
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    layout = BIDSLayout(
        tmp_path, validate=False, indexer=BIDSLayoutIndexer(validate=False, index_metadata=False)
    )
    wanted = layout.get(
        suffix=["T1w", "T2w"], datatype="anat", extension=[".nii", ".nii.gz"], return_type="filename"
    )
    assert sorted(map(str, anatomical_images(tmp_path, ("T1w", "T2w")))) == sorted(wanted)
    assert len(wanted) == len(NAMES) + 1
    assert [path.name for path in anatomical_images(tmp_path, ["T1w"], subjects=["02"])] == [
        "sub-02_T1w.nii.gz"
    ]
