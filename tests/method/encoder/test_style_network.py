import json

import pytest
import torch

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.encoder.style_network import (
    StyleNetwork,
    StyleNetworkConfig,
    masked_moments,
    read_style_config,
    save_style_network,
)

SMALL = StyleNetworkConfig(name="small", size=16, dim=8, tones=4, widths=(4, 8))


def test_moments_are_those_of_the_pixels_inside(rng):
    features = torch.randn(2, 3, 6, 5, generator=rng)
    inside = torch.rand(2, 1, 6, 5, generator=rng) > 0.4
    moments = masked_moments(features, inside.float())
    for n in range(2):
        values = features[n][:, inside[n, 0]]
        assert torch.allclose(moments[n, :3], values.mean(1), atol=1e-5)
        assert torch.allclose(moments[n, 3:], values.std(1, unbiased=False), atol=1e-4)


def test_an_empty_slice_has_finite_moments():
    assert masked_moments(torch.ones(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)).isfinite().all()


def test_embedding_has_the_length_of_a_position_code(rng):
    embeddings = StyleNetwork(SMALL).eval()(torch.rand(5, 1, 16, 16, generator=rng))
    assert embeddings.shape == (5, 8)
    assert torch.allclose(embeddings.norm(dim=1), torch.tensor(8.0**0.5).expand(5), atol=1e-4)


def test_shipped_architecture_fits_its_heads_and_its_size_limit():
    network = StyleNetwork(StyleNetworkConfig())
    assert network.config.dim % 8 == 0
    assert 3e5 < sum(p.numel() for p in network.parameters()) < 6e5


def test_configuration_comes_back(tmp_path):
    save_style_network(StyleNetwork(SMALL), tmp_path)
    assert read_style_config(tmp_path) == SMALL


def test_missing_or_damaged_configuration_is_named(tmp_path):
    with pytest.raises(NoInputError, match=r"config\.json is missing"):
        read_style_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"wings": 2}))
    with pytest.raises(BadDataError, match="not a slice encoder's configuration"):
        read_style_config(tmp_path)
