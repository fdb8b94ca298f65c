from pathlib import Path

import pytest

from bids_mmh.bids.names import (
    ENTITIES,
    derivative_name,
    derivative_path,
    parse_name,
    voxel_size,
)

SOURCE = {
    "suffix": "T1w",
    "extension": ".nii",
    "datatype": "anat",
    "run": "02",
    "acquisition": "mprage",
    "session": "A",
    "subject": "01",
}


def test_all_source_entities_are_kept_in_the_order_of_bids():
    name = derivative_name(
        SOURCE, suffix="T1w", extension=".nii.gz", space="MNI152", res="1", desc="harmonized"
    )
    assert name == "sub-01_ses-A_acq-mprage_run-02_space-MNI152_res-1_desc-harmonized_T1w.nii.gz"
    probability = derivative_name(SOURCE, suffix="probseg", extension=".nii.gz", label="GM")
    assert probability == "sub-01_ses-A_acq-mprage_run-02_label-GM_probseg.nii.gz"


def test_order_agrees_with_the_schema():
    from bidsschematools.schema import load_schema

    schema = load_schema()
    official = [schema.objects.entities[name].name for name in schema.rules.entities]
    ours = [key for key in ENTITIES if key not in {"from", "to", "mode"}]
    assert ours == [key for key in official if key in ours]
    assert set(ours) <= set(official)


def test_names_agree_with_pybids():
    from bids.layout import parse_file_entities
    from bids.layout.models import Config

    known = {name for config in ("bids", "derivatives") for name in Config.load(config).entities}
    assert set(ENTITIES.values()) - known == {"split"}
    name = "/sub-01/anat/sub-01_acq-a_ce-b_stain-c_rec-d_dir-e_inv-1_part-mag_T1w.nii"
    parsed = parse_file_entities(name, config="bids")
    for key, value in {"acq": "a", "ce": "b", "stain": "c", "rec": "d", "dir": "e", "part": "mag"}.items():
        assert parsed[ENTITIES[key]] == value


@pytest.mark.parametrize(("session", "folder"), [("A", "sub-01/ses-A/anat"), (None, "sub-01/anat")])
def test_paths_follow_sessions(session, folder):
    entities = {"subject": "01"} | ({"session": session} if session else {})
    path = derivative_path(Path("/out"), entities, suffix="mask", extension=".nii.gz", desc="brain")
    assert path.parent == Path("/out") / folder
    assert path.name.endswith("_desc-brain_mask.nii.gz")


def test_a_name_is_taken_apart_as_it_was_put_together():
    made = derivative_name(SOURCE, suffix="T1w", extension=".nii.gz", space="MNI152", res="2", desc="preproc")
    name = parse_name(made)
    assert (name.participant_id, name.session, name.suffix) == ("sub-01", "A", "T1w")
    assert (name.space, name.spacing) == ("MNI152", 2.0)
    assert name.source == "sub-01_ses-A_acq-mprage_run-02_T1w"
    assert name.source_entities == {k: SOURCE[k] for k in ("subject", "session", "acquisition", "run")}
    assert name.labels == {"space": "MNI152", "res": "2", "desc": "preproc"}


def test_a_part_without_a_label_is_kept_as_such():
    name = parse_name("sub-01_odd_T1w.json")
    assert name.entities == {"sub": "01", "odd": ""}
    assert (name.session, name.space) == (None, "")


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="colour"):
        derivative_name({"subject": "01"}, suffix="T1w", extension=".nii", colour="red")
    with pytest.raises(ValueError, match="a_b"):
        derivative_name({"subject": "a_b"}, suffix="T1w", extension=".nii")


def test_voxel_size_of_a_name():
    names = {"sub-1_space-X_res-2_desc-preproc_T1w.json": 2, "sub-1_space-X_desc-preproc_T1w.json": 1}
    assert {name: voxel_size(Path("a") / name) for name in names} == names
    assert voxel_size(Path("sub-1_space-X_res-high_desc-preproc_T1w.json")) == 1
