from dataclasses import replace

import pytest
import torch

from bids_mmh.method.config import ModelConfig, NetworkConfig, TargetConfig
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.statistics import StyleStatistics, soft_histogram

TOY = NetworkConfig(
    channels=(8, 16),
    attention=(False, True),
    res_blocks=1,
    patch=1,
    groups=4,
    head_channels=8,
    style_code="displacement",
    intensity_bins=0,
)


def _randomise(module, seed=0, scale=0.2):
    """Give every parameter, also those that start at zero, a value that lets it speak."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module


@pytest.fixture
def randomise():
    return _randomise


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(7)


@pytest.fixture
def toy_network():
    return TOY


@pytest.fixture
def toy():
    """A configuration whose harmonizer takes a fraction of a second."""
    return ModelConfig(
        name="toy",
        network=TOY,
        spacing=16.0,
        shape=(8, 8, 12),
        bins=20,
        depth=40,
        inversion_steps=3,
        sampling_steps=2,
        intensity_map="moments",
    )


@pytest.fixture
def toy_target(toy):
    """The same, fine-tuned to a target site."""
    return replace(toy, target=TargetConfig("alpha", "embedded", 64 * "0", "attention"))


def _wake(network):
    """Give a small value to what starts at zero."""
    for name, parameter in network.named_parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(len(name)))


def _record(records, m, mean, std):
    """Set record m to the style of a uniform distribution."""
    values = mean + 3**0.5 * std * torch.linspace(-1, 1, 2001)
    histogram = soft_histogram(values, records.histogram.shape[1])[None]
    records.assign(m, StyleStatistics(histogram, torch.tensor([mean]), torch.tensor([std])))


@pytest.fixture
def set_record():
    return _record


def _build(config):
    torch.manual_seed(0)
    model = Harmonizer(config).eval()
    _wake(model.network)
    _record(model.records, 0, 0.1, 0.3)
    _record(model.records, 1, -0.2, 0.5)
    if model.target_network is not None:
        _wake(model.target_network)
        _record(model.target_records, 0, 0.3, 0.2)
        _record(model.target_records, 1, -0.4, 0.3)
    return model


@pytest.fixture
def build():
    """Make a harmonizer whose layers all speak, with records of T1w and T2w; equal for equal networks."""
    return _build


@pytest.fixture
def harmonizer(toy):
    return _build(toy)


@pytest.fixture
def two_stage(toy_target):
    return _build(toy_target)


def _pin(monkeypatch, native):
    monkeypatch.setattr("bids_mmh.method.precision.has_native_bf16", lambda device: native)


@pytest.fixture
def float32(monkeypatch):
    """Compute as on hardware without bfloat16."""
    _pin(monkeypatch, native=False)


@pytest.fixture
def bfloat16(monkeypatch):
    """Compute as on hardware with bfloat16; elsewhere PyTorch emulates it."""
    _pin(monkeypatch, native=True)


@pytest.fixture(params=["float32", "bfloat16"])
def either_precision(request):
    request.getfixturevalue(request.param)


@pytest.fixture
def head(rng):
    """A volume of noise in a box of a mask, background −1, and that mask; sides (8, 8, 12)."""
    mask = torch.zeros(1, 1, 8, 8, 12, dtype=torch.bool)
    mask[..., 1:7, 2:7, 1:10] = True
    volume = torch.rand(mask.shape, generator=rng) * 1.6 - 0.8
    return torch.where(mask, volume, -1.0), mask
