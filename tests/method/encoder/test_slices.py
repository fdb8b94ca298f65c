from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from torch import nn

import bids_mmh.method.encoder.slices as slice_encoders
from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.encoder.slices import SliceEncoder, load_encoder, square, weights_sha256
from bids_mmh.method.encoder.style_network import StyleNetwork, StyleNetworkConfig, save_style_network
from bids_mmh.method.encoder.towers import TOWERS, Intake

INTAKE = Intake(8, 3, (0.2, 0.4, 0.6), (0.5, 0.25, 0.125))


class Keep(nn.Module):
    """Gives back what it was fed."""

    def forward(self, images):
        return images.flatten(1)


class Trunk(nn.Module):
    """A stand-in with the keys of a published tower."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Module()
        self.trunk.cls_token = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(3, 4, bias=False)

    def forward(self, images):
        return self.head(images.mean(dim=(2, 3))) * self.trunk.cls_token


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    tower = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5))
    return SliceEncoder("toy", tower, 5, INTAKE)


@pytest.fixture
def slices(rng):
    return torch.rand(6, 1, 8, 8, generator=rng) * 2 - 1


@pytest.fixture
def biomedclip(monkeypatch):
    """The registry with a small tower under the name of BiomedCLIP; its weights."""
    small = replace(TOWERS["biomedclip"], build=Trunk, dim=4)
    monkeypatch.setitem(slice_encoders.TOWERS, "biomedclip", small)
    torch.manual_seed(1)
    return {f"visual.{key}": value for key, value in Trunk().state_dict().items()}


def test_normalisation_of_the_weights_is_applied(slices):
    fed = SliceEncoder("keep", Keep(), 192, INTAKE)(slices).view(6, 3, 8, 8)
    unit = (slices[:, 0] + 1) / 2
    for channel, (mean, std) in enumerate(zip(INTAKE.mean, INTAKE.std, strict=True)):
        assert torch.allclose(fed[:, channel], (unit - mean) / std, atol=1e-6)


def test_padding_keeps_the_aspect_and_adds_background():
    out = square(torch.ones(1, 1, 4, 8), 8)
    assert torch.equal(out[0, 0, 2:6], torch.ones(4, 8))
    assert (out[0, 0, :2] == -1).all()
    assert (out[0, 0, 6:] == -1).all()


def test_resize_is_antialiased():
    stripes = torch.ones(1, 1, 64, 64)
    stripes[..., ::2] = -1
    middle = square(stripes, 16)[..., 4:12, 4:12]
    assert middle.abs().max() < 0.1  # a plain bilinear resize would keep 1s and −1s apart or alias them
    assert torch.allclose(
        middle, F.interpolate(stripes, (16, 16), mode="bilinear", antialias=True)[..., 4:12, 4:12]
    )


def test_frozen_but_gradients_reach_the_slices(encoder, slices):
    slices.requires_grad_()
    encoder(slices).square().sum().backward()
    assert slices.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())


def test_stays_in_evaluation_mode(encoder, slices):
    before = encoder(slices)
    nn.Sequential(encoder).train()
    assert torch.equal(encoder(slices), before)  # batch statistics would change both
    assert torch.equal(encoder(slices), before)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_chunks_change_memory_only(encoder, slices, checkpointing):
    slices.requires_grad_()
    expected = encoder(slices)
    (gradient,) = torch.autograd.grad(expected.square().sum(), slices)
    encoder.chunk, encoder.checkpointing = 4, checkpointing
    result = encoder(slices)
    (again,) = torch.autograd.grad(result.square().sum(), slices)
    assert torch.allclose(result, expected, atol=1e-5)
    assert torch.allclose(again, gradient, atol=1e-4)


def test_digest_names_the_weights():
    torch.manual_seed(0)
    one = nn.Linear(2, 2)
    other = nn.Linear(2, 2)
    assert weights_sha256(one) != weights_sha256(other)
    other.load_state_dict(one.state_dict())
    assert weights_sha256(one) == weights_sha256(other)
    assert len(weights_sha256(one)) == 64


def test_embedded_encoder_is_shipped():
    encoder = load_encoder()
    assert (encoder.name, encoder.dim, encoder.size) == ("embedded", 128, 96)
    assert encoder(torch.zeros(2, 1, 20, 30)).shape == (2, 128)
    assert encoder.digest != load_encoder("random").digest


def test_random_control_follows_its_seed_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one = load_encoder("random", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert load_encoder("random", seed=1).digest == one.digest
    assert load_encoder("random", seed=2).digest != one.digest
    assert one.name == "random"


def test_own_encoder_by_folder_and_by_file(tmp_path, slices):
    torch.manual_seed(0)
    network = StyleNetwork(StyleNetworkConfig(name="mine", size=8, dim=8, tones=4, widths=(4,)))
    save_style_network(network, tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors", str(tmp_path)):
        encoder = load_encoder(path)
        assert (encoder.name, encoder.dim) == ("mine", 8)
        assert torch.equal(encoder(slices), network.eval()((slices + 1) / 2))


def test_published_tower_is_recognised_by_its_keys(tmp_path, biomedclip):
    torch.save({**biomedclip, "text.a": torch.ones(1)}, tmp_path / "open_clip_pytorch_model.bin")
    save_file(
        {key.removeprefix("visual."): v for key, v in biomedclip.items()}, tmp_path / "tower.safetensors"
    )
    whole, tower = (load_encoder(tmp_path / n) for n in ("open_clip_pytorch_model.bin", "tower.safetensors"))
    assert whole.name == tower.name == "biomedclip"
    assert whole.digest == tower.digest
    assert (whole.size, whole.channels, whole.dim) == (224, 3, 4)


def test_incomplete_checkpoint_is_refused(tmp_path, biomedclip):
    del biomedclip["visual.head.weight"]
    torch.save(biomedclip, tmp_path / "model.bin")
    with pytest.raises(BadDataError, match=r"model\.bin lacks the weights 'head\.weight'"):
        load_encoder(tmp_path / "model.bin")


def test_weights_of_something_else_are_refused(tmp_path):
    save_file({"layer.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(BadDataError, match="not those of biomedclip, clip or a slice encoder"):
        load_encoder(tmp_path)


def test_a_name_is_not_another_tower(tmp_path, monkeypatch, biomedclip):
    file = tmp_path / "model.safetensors"
    save_file(biomedclip, file)
    monkeypatch.setattr(slice_encoders, "download", lambda _: file)
    assert load_encoder("biomedclip").name == "biomedclip"
    with pytest.raises(BadDataError, match="not those of clip"):
        load_encoder("clip")


def test_damaged_own_encoder_says_which_weight(tmp_path):
    save_style_network(StyleNetwork(StyleNetworkConfig()), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["tone.0.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(BadDataError, match=r"'tone\.0\.bias' has the shape \(3,\)"):
        load_encoder(tmp_path)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(NoInputError, match="does not exist"):
        load_encoder(tmp_path / "none")
