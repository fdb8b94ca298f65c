import math

import numpy as np
import pytest
import torch
from einops import rearrange

from bids_mmh.method.diffusion.blocks import (
    ResBlock,
    SelfAttention,
    StyleMLP,
    depth_to_space,
    modulate,
    sinusoidal_embedding,
    space_to_depth,
)


def test_space_to_depth_gathers_each_cell(rng):
    x = torch.randn(2, 3, 4, 6, 8, generator=rng)
    folded = space_to_depth(x, 2)
    assert folded.shape == (2, 24, 2, 3, 4)
    assert torch.equal(folded[1, 8:16, 1, 2, 3], x[1, 1, 2:4, 4:6, 6:8].flatten())
    assert torch.equal(folded, rearrange(x, "b c (h p) (w q) (d r) -> b (c p q r) h w d", p=2, q=2, r=2))
    assert torch.equal(depth_to_space(folded, 2), x)
    assert torch.equal(space_to_depth(x, 1), x)


def test_sinusoidal_embedding_values():
    embedding = sinusoidal_embedding(torch.tensor([0, 3]), 4)
    assert embedding[0].tolist() == [0, 0, 1, 1]
    expected = [math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]
    assert embedding[1].tolist() == pytest.approx(expected, abs=1e-6)


def test_decoder_block_is_adain_transcribed(rng, randomise):
    """Eq. 8, with the offsets of the style and of the embedding added."""
    block = randomise(ResBlock(4, 8, 6, 4, adain=True))
    x, embedding = torch.randn(2, 4, 3, 3, 3, generator=rng), torch.randn(2, 6, generator=rng)
    offsets = torch.randn(2, 16, generator=rng)
    features = block.conv1(torch.nn.functional.silu(block.norm1(x))).detach().numpy()
    mean = features.mean((2, 3, 4), keepdims=True)
    deviation = np.sqrt(features.var((2, 3, 4), keepdims=True) + 1e-5)
    delta, beta = (
        (block.condition(embedding) + offsets).detach().numpy().reshape(2, 2, 8, 1, 1, 1).swapaxes(0, 1)
    )
    modulated = torch.from_numpy((1 + delta) * (features - mean) / deviation + beta)
    expected = block.skip(x) + block.conv2(torch.nn.functional.silu(modulated))
    torch.testing.assert_close(block(x, embedding, offsets), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("adain", [False, True])
def test_fresh_block_passes_its_input_through(adain, rng):
    x = torch.randn(1, 8, 3, 3, 3, generator=rng)
    assert torch.equal(ResBlock(8, 8, 6, 4, adain=adain)(x, torch.ones(1, 6)), x)


@pytest.mark.parametrize("code", [2, 15])
def test_style_mlp_starts_as_identity(code, rng):
    offsets = StyleMLP(code, 8)(torch.randn(3, code, generator=rng))
    assert offsets.shape == (3, 16)
    assert not offsets.any()
    x = torch.randn(1, 8, 2, 2, 2, generator=rng)
    assert torch.equal(modulate(x, torch.zeros(1, 8), torch.zeros(1, 8)), x)


def test_style_mlp_transcribed(rng, randomise):
    mlp = randomise(StyleMLP(3, 4, hidden=5))
    code = torch.randn(2, 3, generator=rng)
    first, second = (
        [p.detach().double().numpy() for p in (layer.weight, layer.bias)] for layer in mlp.layers[::2]
    )
    hidden = code.double().numpy() @ first[0].T + first[1]
    expected = (hidden / (1 + np.exp(-hidden))) @ second[0].T + second[1]
    np.testing.assert_allclose(mlp(code).detach(), expected, atol=1e-5)


def test_self_attention_transcribed(rng, randomise):
    attention = randomise(SelfAttention(8, 4, head_channels=4))
    x = torch.randn(1, 8, 2, 2, 3, generator=rng)
    tokens = attention.norm(x).flatten(2)[0].T
    query, key, value = attention.qkv(tokens).detach().numpy().reshape(12, 3, 2, 4).transpose(1, 2, 0, 3)
    scores = np.exp(query @ key.transpose(0, 2, 1) / 2.0)
    attended = (scores / scores.sum(-1, keepdims=True)) @ value
    out = attention.out(torch.from_numpy(attended.transpose(1, 0, 2).reshape(12, 8)))
    torch.testing.assert_close(attention(x), x + out.T.reshape(x.shape), atol=1e-5, rtol=1e-4)
