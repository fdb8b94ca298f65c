from dataclasses import replace
from pathlib import Path

from bids_mmh.app.models import ModelReference
from bids_mmh.method.config import PRESETS, TargetConfig

STAGE1 = ModelReference("m", Path("m"), PRESETS["tiny"], "d" * 64)
STAGE2 = replace(
    STAGE1, config=replace(PRESETS["tiny"], target=TargetConfig("siteA", "biomedclip", "e" * 64, "attention"))
)


def test_a_stage_1_model_leads_to_the_unified_domain_and_has_no_encoder():
    assert STAGE1.provenance == {"Name": "m", "SHA256": "d" * 64, "Target": "unified", "Encoder": None}


def test_a_stage_2_model_names_its_site_and_the_encoder_of_its_training():
    encoder = {"Name": "biomedclip", "SHA256": "e" * 64}
    assert STAGE2.provenance == {"Name": "m", "SHA256": "d" * 64, "Target": "siteA", "Encoder": encoder}
