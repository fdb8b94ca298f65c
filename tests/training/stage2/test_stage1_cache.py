import shutil
from collections import Counter
from dataclasses import replace

import pytest
import torch

import bids_mmh.training.stage2.stage1_cache as stage1_cache
from bids_mmh.errors import BadDataError
from bids_mmh.method.encoder.slices import load_encoder
from bids_mmh.method.encoder.tpa_clip import TriPlanarConfig, TriPlanarEncoder
from bids_mmh.method.harmonizer import Anchor, Latent
from bids_mmh.method.style.statistics import style_statistics
from bids_mmh.training.engine import Compute, make_fabric
from bids_mmh.training.stage2.stage1_cache import Stage1Cache, build_cache, maker_of
from bids_mmh.training.stage2.task import train_stage2


@pytest.fixture
def cache(prepared, tmp_path):
    """The first four cache, in a folder of their own."""
    volumes = prepared.cache.volumes
    few = type(volumes)(volumes.scans[:4], volumes.config, volumes.files[0].parent)
    cache = Stage1Cache(few, tmp_path / "stage1_cache", maker_of(prepared.model, prepared.psi))
    for file in cache.files:
        file.parent.mkdir(exist_ok=True)
        shutil.copy(prepared.cache.files[0].parent / file.name, file)
    return cache


@pytest.fixture
def build(prepared, cache):
    """Build, and count how often the networks were called."""

    def build(cache=cache):
        calls = Counter()
        networks = {"unet": prepared.model.network, "encoder": prepared.psi.encoder}
        hooks = [
            network.register_forward_hook(lambda *_, name=name: calls.update([name]))
            for name, network in networks.items()
        ]
        build_cache(cache, prepared.model, prepared.psi, make_fabric(Compute("cpu")))
        for hook in hooks:
            hook.remove()
        return calls

    return build


def test_made_once(build, cache):
    assert build() == Counter()
    cache.files[1].unlink()
    # two inversions of 4 steps and a sampling of 3; three views of the scan and of its unified self
    assert build() == {"unet": 4 + 3 + 4, "encoder": 6}
    assert build() == Counter()


def test_a_run_that_goes_on_applies_stage_one_to_nothing(begun, stage1_model, stage2, monkeypatch):
    monkeypatch.setattr(stage1_cache, "_build", lambda *_: pytest.fail("it is there"))
    train_stage2(stage1_model, replace(stage2, steps=1), begun, seed=5)


def flip(file):
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda file: file.write_bytes(file.read_bytes()[:-40]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes().replace(b"sha256", b"sha255")),
    ],
    ids=["flipped", "truncated", "empty", "no checksum"],
)
def test_what_is_damaged_is_made_again(build, cache, damage):
    before = [file.read_bytes() for file in cache.files]
    damage(cache.files[2])
    assert build()["unet"] == 11
    assert [file.read_bytes() for file in cache.files] == before


def test_damaged_while_training_runs(cache):
    cache.files[0].unlink()
    cache.files[1].write_bytes(b"nothing")
    for i in (0, 1):
        with pytest.raises(BadDataError, match=r"was removed or damaged while training ran: start it again"):
            cache[i]


def test_files_belong_to_model_encoder_and_slices(prepared, tmp_path, small_encoder):
    model, psi = prepared.model, prepared.psi
    known = maker_of(model, psi)
    more = TriPlanarEncoder(psi.encoder, TriPlanarConfig(slices=4))
    axial = TriPlanarEncoder(psi.encoder, TriPlanarConfig(slices=3, aggregation="axial_mean"))
    other = TriPlanarEncoder(load_encoder("random"), TriPlanarConfig(slices=3))
    makers = {known, *(maker_of(model, one) for one in (more, axial, other))}
    for tensor in (model.network.state_dict()["head.bias"], model.records.mean):
        before = tensor.clone()
        tensor.add_(0.01)
        makers.add(maker_of(model, psi))
        tensor.copy_(before)
    config = model.config
    model.config = replace(config, depth=90)
    makers.add(maker_of(model, psi))
    model.config = config
    assert len(makers) == 7
    volumes = prepared.cache.volumes
    names = [file for maker in makers for file in Stage1Cache(volumes, tmp_path, maker).files]
    assert len(set(names)) == 7 * len(volumes)
    assert maker_of(model, psi) == known


def test_the_target_does_not_matter(prepared):
    """Stage I of all scans is not worked out anew for another target site."""
    model = prepared.model
    config, known = model.config, maker_of(model, prepared.psi)
    with torch.no_grad():
        before = model.target_records.mean.clone()
        model.target_records.mean += 1
    model.config = replace(config, target=replace(config.target, site="beta"))
    assert maker_of(model, prepared.psi) == known
    model.config = config
    model.target_records.mean.copy_(before)


def test_aligned_is_what_stage_one_makes_of_the_scan(prepared, cache):
    for i in range(len(cache)):
        item = cache[i]
        expected = prepared.model(item.image, item.mask, item.sequence, stage=1)
        torch.testing.assert_close(item.aligned, expected, atol=6e-4, rtol=6e-4)  # of float16
        assert (item.aligned - item.image)[item.mask].abs().max() > 0.1
        assert item.aligned.dtype == item.latent.dtype == torch.float32


def test_the_latent_leads_back_to_the_unified_scan(prepared, cache):
    model = prepared.model
    for i in range(2):
        item = cache[i]
        anchor = Anchor(item.mask, model.gradient(item.image), item.sequence)
        own = style_statistics(item.aligned, item.mask, model.config.bins)
        with torch.no_grad():
            back = model.sample(model.network, Latent(item.latent, own), anchor, own)
        assert (item.latent - item.aligned)[item.mask].abs().mean() > 0.05
        assert (back - item.aligned)[item.mask].abs().mean() < 0.02


def test_slices_are_the_frozen_encoders(prepared, cache):
    item, psi = cache[0], prepared.psi
    with torch.no_grad():
        image, places = psi.slices(item.image, item.mask)
        aligned, _ = psi.slices(item.aligned, item.mask)
    assert image.shape == (1, 3, 3, 16)
    torch.testing.assert_close(item.slices.image, image)
    torch.testing.assert_close(item.slices.places, places)
    assert (item.slices.aligned - aligned).abs().max() < 2e-3  # its volume was rounded to float16
    assert (image - aligned).abs().max() > 0.01
    alone = cache.slices(0)
    assert torch.equal(alone.image, item.slices.image)
    assert torch.equal(alone.aligned, item.slices.aligned)
