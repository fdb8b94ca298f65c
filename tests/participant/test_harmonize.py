"""The model as the harmonize node uses it."""

from dataclasses import replace

import pytest
import torch

from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.participant.harmonize import load_model


@pytest.fixture
def folder(tmp_path):
    load_model.cache_clear()
    yield Harmonizer(PRESETS["tiny"]).save_pretrained(tmp_path / "model") or tmp_path / "model"
    load_model.cache_clear()


def test_weights_are_read_once_for_all_scans(folder):
    assert load_model(folder, "a", "cpu") is load_model(folder, "a", "cpu")


def test_other_weights_in_the_same_folder_are_read_again(folder):
    before = load_model(folder, "a", "cpu")
    other = Harmonizer(replace(PRESETS["tiny"], depth=PRESETS["tiny"].depth + 1))
    other.save_pretrained(folder)
    after = load_model(folder, "b", "cpu")
    assert after.config.depth == before.config.depth + 1
    assert next(after.parameters()).device == torch.device("cpu")
