import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_mmh.errors import NoInputError
from bids_mmh.method.encoder.slices import load_encoder
from bids_mmh.method.encoder.style_network import StyleNetwork, StyleNetworkConfig
from bids_mmh.method.style.losses import contrastive_loss
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.slice_encoder.training import (
    EncoderRecipe,
    draw_batch,
    fit,
    read_slices,
    standardise,
    train_encoder,
)

TINY = EncoderRecipe(
    network=StyleNetworkConfig(name="tiny", size=16, dim=8, tones=4, widths=(8, 8)),
    steps=3,
    styles=2,
    subjects=2,
    slices=3,
    per_view=4,
)


@pytest.fixture
def bank(rng):
    """Three subjects's eight slices of noise with a strip of background, wider from one to the next."""
    slices = torch.rand(3, 8, 1, 16, 16, generator=rng) * 0.8 + 0.1
    for subject in range(3):
        slices[subject, ..., : subject + 2] = 0
    return slices


def three_tissues(intensities, shares, rng):
    """One scan (slices, 1, h, w) of tissues at given intensities, a little noise, and background."""
    index = torch.multinomial(torch.tensor(shares), 4 * 20 * 20, replacement=True, generator=rng)
    values = torch.tensor(intensities)[index] + 0.01 * torch.randn(index.shape, generator=rng)
    values = values.view(4, 1, 20, 20)
    values[..., :4] = 0
    return values, index.view(4, 1, 20, 20)


def test_slices_of_three_views_in_the_unit_interval(derivatives):
    scan = find_scans([derivatives], ["T1w"])[0]
    slices = read_slices(scan, 4, 16)
    assert slices.shape == (12, 1, 16, 16)
    assert slices.min() == 0
    assert 0.5 < slices.max() <= 1
    assert (slices > 0).flatten(1).any(1).all()


def test_tissues_come_together_whatever_their_shares(rng):
    one, index_one = three_tissues([0.2, 0.5, 0.8], [0.2, 0.4, 0.4], rng)
    two, index_two = three_tissues([0.1, 0.6, 0.9], [0.5, 0.3, 0.2], rng)
    standard = standardise(torch.stack([one, two]))
    for tissue, expected in enumerate([0.15, 0.55, 0.85]):
        for scan, index, own in zip(standard, (index_one, index_two), (one, two), strict=True):
            values = scan[(index == tissue) & (own > 0)]
            assert values.mean().item() == pytest.approx(expected, abs=0.01)
    assert (standard[0][one == 0] == 0).all()
    inside = one > 0
    assert torch.equal(standard[0][inside].argsort(), one[inside].argsort())


def test_everyone_of_a_batch_is_seen_through_every_style(bank, rng):
    slices, labels = draw_batch([bank, bank], TINY, rng)
    assert slices.shape == (2 * 2 * 2, 3, 1, 16, 16)
    assert labels == [0, 0, 1, 1, 2, 2, 3, 3]
    first, second = slices[:2], slices[2:4]
    strips, others = ((part > 0).any(dim=-2) for part in (first, second))
    assert torch.equal(strips, others)  # the same two subjects
    assert not torch.equal(strips[0], strips[1])
    assert not torch.allclose(first, second)


def test_fewer_subjects_than_asked_for_are_all_taken(bank, rng):
    slices, labels = draw_batch([bank], replace(TINY, subjects=9), rng)
    assert len(slices) == len(labels) == 2 * 3


def test_training_makes_styles_tell_apart(bank):
    recipe = replace(TINY, steps=40, learning_rate=1e-2)
    torch.manual_seed(0)
    network = StyleNetwork(recipe.network)
    slices, labels = draw_batch([bank], recipe, torch.Generator().manual_seed(99))

    def contrast():
        with torch.no_grad():
            means = network.eval()(slices.flatten(0, 1)).unflatten(0, slices.shape[:2]).mean(1)
            return contrastive_loss(means, labels).item()

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
