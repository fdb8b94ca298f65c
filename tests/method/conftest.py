import pytest
import torch

from bids_mmh.method.config import ModelConfig, NetworkConfig
from bids_mmh.method.harmonizer import Harmonizer

TOY = NetworkConfig(
    channels=(8, 16), attention=(False, True), res_blocks=1, patch=1, groups=4, head_channels=8
)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    )


@pytest.fixture
def harmonizer(toy):
    torch.manual_seed(0)
    model = Harmonizer(toy).eval()
    for name, parameter in model.network.named_parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    model.records.mean.copy_(torch.tensor([0.1, -0.2]))
    model.records.std.copy_(torch.tensor([0.3, 0.5]))
    return model


@pytest.fixture
def head(rng):
    """A volume of noise in a box of a mask, background −1, and that mask; sides (8, 8, 12)."""
    mask = torch.zeros(1, 1, 8, 8, 12, dtype=torch.bool)
    mask[..., 1:7, 2:7, 1:10] = True
    volume = torch.rand(mask.shape, generator=rng) * 1.6 - 0.8
    return torch.where(mask, volume, -1.0), mask
