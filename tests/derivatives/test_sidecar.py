import json

import pytest
from pydantic import ValidationError

from bids_mmh.derivatives.sidecar import FIELDS, SCHEMA_VERSION, Encoder, IntensityScaling, Model, Sidecar
from bids_mmh.errors import BadDataError

FULL = Sidecar(
    skull_stripped=True,
    sources=("bids:raw:a",),
    site=None,
    sequence="T1w",
    intensity_scaling=IntensityScaling(slope=0.5, intercept=-1),
    model=Model(name="m", sha256="d", target="unified", encoder=None),
    configuration_hash="c0ffee00",
)


def test_each_kind_of_file_has_its_own_fields_in_a_fixed_order():
    assert list(FULL.content("native_preproc")) == [
        "SkullStripped",
        "Sources",
        "Site",
        "Sequence",
        "ConfigurationHash",
        "SchemaVersion",
    ]
    keys = list(FULL.content("native_harmonized"))
    assert keys.index("Model") < keys.index("IntensityScaling")
    keys = list(FULL.content("mni_harmonized"))
    assert keys.index("IntensityScaling") < keys.index("Model")


def test_what_was_given_as_none_is_null_and_what_was_not_given_is_absent(tmp_path):
    content = json.loads(FULL.write(tmp_path / "x.json", "mni_harmonized").read_text())
    assert content["Site"] is None
    assert content["Model"] == {"Name": "m", "SHA256": "d", "Target": "unified", "Encoder": None}
    assert "Device" not in content
    assert content["SchemaVersion"] == SCHEMA_VERSION


def test_reading_gives_back_what_was_written(tmp_path):
    model = Model(name="m", sha256="d", target="A", encoder=Encoder(name="e", sha256="f"))
    written = FULL.with_fields(
        model=model, quality_warnings=("One.",), image_statistics={"before": {"mean": 1}}
    )
    read = Sidecar.read(written.write(tmp_path / "x.json", "mni_harmonized"))
    assert read.content("mni_harmonized") == written.content("mni_harmonized")
    assert read.with_fields(site="A").site == "A"


def test_every_field_is_written_somewhere_and_says_what_it_is():
    written = {name for names in FIELDS.values() for name in names}
    assert written == set(Sidecar.model_fields)
    for name, field in Sidecar.model_fields.items():
        assert field.description, name


def test_a_value_of_another_kind_is_unknown_when_read_and_refused_when_written():
    read = Sidecar.from_content(
        {"AnatomyPreservation": "high", "Model": "embedded", "Sequence": "T1w", "X": 1}
    )
    assert (read.anatomy_preservation, read.model, read.sequence) == (None, None, "T1w")
    assert Sidecar.from_content({"AnatomyPreservation": float("nan")}).anatomy_preservation is None
    with pytest.raises(ValidationError):
        Sidecar(anatomy_preservation=float("nan"))
    with pytest.raises(ValidationError):
        FULL.with_fields(clipped_fraction="much")


def test_lacking_names_the_key():
    assert FULL.lacking("site", "sequence") is None
    assert FULL.lacking("sequence", "brain_mask") == "BrainMask"
    assert Sidecar.from_content({"IntensityScaling": None}).lacking("intensity_scaling") == "IntensityScaling"
    assert Sidecar().lacking("site") == "Site"


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "readable"), ("[]", "object"), ('{"SchemaVersion": 99}', "later")]
)
def test_what_is_no_sidecar_of_ours(tmp_path, text, reason):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BadDataError, match=reason):
        Sidecar.read(tmp_path / "x.json")
    with pytest.raises(BadDataError, match="readable"):
        Sidecar.read(tmp_path / "absent.json")
