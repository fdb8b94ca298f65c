from dataclasses import replace
from pathlib import Path

import pytest

from bids_mmh.derivatives.models import ModelReference, resolve_model
from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.method.config import PRESETS, TargetConfig
from bids_mmh.method.harmonizer import Harmonizer

STAGE1 = ModelReference("m", Path("m"), PRESETS["tiny"], "d" * 64)
STAGE2 = replace(
    STAGE1, config=replace(PRESETS["tiny"], target=TargetConfig("siteA", "biomedclip", "e" * 64, "attention"))
)


def test_a_stage_1_model_leads_to_the_unified_domain_and_has_no_encoder():
    assert STAGE1.provenance.model_dump(by_alias=True) == {
        "Name": "m",
        "SHA256": "d" * 64,
        "Target": "unified",
        "Encoder": None,
    }


def test_a_stage_2_model_names_its_site_and_the_encoder_of_its_training():
    encoder = {"Name": "biomedclip", "SHA256": "e" * 64}
    assert STAGE2.provenance.model_dump(by_alias=True) == {
        "Name": "m",
        "SHA256": "d" * 64,
        "Target": "siteA",
        "Encoder": encoder,
    }


def test_a_model_fitted_to_the_study_is_found_by_its_name(tmp_path):
    Harmonizer(PRESETS["tiny"]).save_pretrained(tmp_path / "models" / "mine")
    (tmp_path / "models" / "unfinished" / "training").mkdir(parents=True)
    assert resolve_model("mine", tmp_path).folder == tmp_path / "models" / "mine"
    for name in ("unfinished", "../models/mine", "other"):
        with pytest.raises(UsageError, match=f"no model named '{name}': use 'embedded', 'mine' or the path"):
            resolve_model(name, tmp_path)
    with pytest.raises(UsageError, match="use 'embedded' or the path"):
        resolve_model("mine")
    with pytest.raises(NoInputError, match="does not exist"):
        resolve_model(str(tmp_path / "nowhere"), tmp_path)
