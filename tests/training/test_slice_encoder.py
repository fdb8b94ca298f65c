import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_mmh.errors import NoInputError
from bids_mmh.method.slice_encoders import load_encoder
from bids_mmh.method.style_losses import contrastive_loss
from bids_mmh.method.style_network import StyleNetwork, StyleNetworkConfig
from bids_mmh.training.data import find_scans
from bids_mmh.training.slice_encoder import (
    EncoderRecipe,
    SliceBank,
    draw_batch,
    fit,
    read_slices,
    standardise,
    train_encoder,
)

TINY = EncoderRecipe(
    network=StyleNetworkConfig(name="tiny", size=16, dim=8, tones=4, widths=(8, 8)),
    steps=3,
    pairs=2,
    scans=2,
    slices=3,
    per_view=4,
)


@pytest.fixture
def bank(rng):
    """Two scans of eight slices, one twice as bright as the other."""
    own = torch.rand(2, 8, 1, 16, 16, generator=rng) * 0.4 + 0.05
    own[1] *= 2
    own[..., :3] = 0
    return SliceBank(own, standardise(own))


def test_slices_of_three_views_in_the_unit_interval(derivatives):
    scan = find_scans([derivatives], ["T1w"])[0]
    slices = read_slices(scan, 4, 16)
    assert slices.shape == (12, 1, 16, 16)
    assert slices.min() == 0
    assert 0.5 < slices.max() <= 1
    assert (slices > 0).flatten(1).any(1).all()


def test_standard_intensities_are_alike_and_keep_their_order(bank):
    inside = bank.own > 0
    for a, b, brain in zip(bank.own, bank.standard, inside, strict=True):
        assert torch.equal(a[brain].argsort(), b[brain].argsort())
    means = [float(scan[brain].mean()) for scan, brain in zip(bank.standard, inside, strict=True)]
    assert means[0] == pytest.approx(means[1], abs=1e-3)
    assert (bank.standard[~inside] == 0).all()


def test_a_batch_pairs_styles_over_the_same_slices(bank, rng):
    slices, labels = draw_batch([bank, bank], TINY, rng)
    assert len(slices) == len(labels) == 2 * (2 * TINY.pairs + TINY.scans) * TINY.slices
    assert labels == sorted(labels)
    first, second = slices[:3], slices[3:6]
    assert labels[:6] == [0, 0, 0, 1, 1, 1]
    assert torch.equal(first > 0, second > 0)
    assert not torch.allclose(first, second)


def test_scans_of_a_batch_are_different_ones(bank, rng):
    slices, _ = draw_batch([bank], replace(TINY, pairs=0, scans=2), rng)
    bright = [float(group.max()) > 0.5 for group in slices.split(3)]
    assert sorted(bright) == [False, True]


def test_training_makes_styles_tell_apart(bank):
    recipe = replace(TINY, steps=40, learning_rate=1e-2)
    torch.manual_seed(0)
    network = StyleNetwork(recipe.network)
    slices, labels = draw_batch([bank], recipe, torch.Generator().manual_seed(99))

    def contrast():
        with torch.no_grad():
            return contrastive_loss(network.eval()(slices), labels).item()

    before = contrast()
    fit(network, [bank], recipe)
    after = contrast()
    assert after < before - 0.3


def test_train_writes_an_encoder_and_repeats_itself(derivatives, tmp_path):
    encoder = train_encoder(TINY, [derivatives], tmp_path / "one")
    assert load_encoder(tmp_path / "one").digest == encoder.digest
    assert json.loads((tmp_path / "one" / "config.json").read_text())["name"] == "tiny"
    assert train_encoder(TINY, [derivatives], tmp_path / "two").digest == encoder.digest
    assert train_encoder(replace(TINY, seed=1), [derivatives], tmp_path / "three").digest != encoder.digest


def test_one_scan_is_not_enough(tmp_path, write_scan):
    write_scan(tmp_path, "01", "T1w", array=np.random.default_rng(0).uniform(20, 180, (9, 12, 12)))
    with pytest.raises(NoInputError, match="needs at least two"):
        train_encoder(replace(TINY, sequences=("T1w",)), [tmp_path], tmp_path / "out")
