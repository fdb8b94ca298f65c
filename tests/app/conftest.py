import pytest
import torch

from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer


@pytest.fixture
def make_model(tmp_path):
    """Write a 4-mm model folder; with ``seed`` its weights are random, else it returns what it is given."""

    def make(name="tiny", seed=None):
        model = Harmonizer(PRESETS["tiny"])
        if seed is not None:
            torch.manual_seed(seed)
            for weights in model.network.parameters():
                torch.nn.init.normal_(weights, std=0.02)
        model.save_pretrained(tmp_path / name)
        return tmp_path / name

    return make
