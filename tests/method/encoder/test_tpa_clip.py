import math

import numpy as np
import pytest
import torch
from torch import nn

from bids_mmh.method.encoder.slices import SliceEncoder
from bids_mmh.method.encoder.towers import Intake
from bids_mmh.method.encoder.tpa_clip import (
    TriPlanarConfig,
    TriPlanarEncoder,
    sinusoidal_position,
    slice_indices,
    take_slices,
)

CONFIG = TriPlanarConfig(slices=3, heads=2, alpha=0.1)
DIM = 8


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return SliceEncoder(
        "toy", nn.Sequential(nn.Flatten(), nn.Linear(36, DIM)), DIM, Intake(6, 1, (0.5,), (1.0,))
    )


@pytest.fixture
def model(encoder, randomise):
    model = TriPlanarEncoder(encoder, CONFIG)
    randomise(model.aggregator, scale=0.5)
    return model


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gelu(x):
    return np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))))(x)


def eq_15_to_17(psi, places, weights):
    """One volume by the letter of the paper, in numpy: psi (3, Z, D), places (3, Z)."""
    w = {key: value.detach().double().numpy() for key, value in weights.items()}
    positions = np.zeros_like(psi)
    for view in range(3):
        for z in range(psi.shape[1]):
            for k in range(DIM // 2):
                angle = 100 * places[view, z] / 10000 ** (2 * k / DIM)
                positions[view, z, 2 * k], positions[view, z, 2 * k + 1] = math.sin(angle), math.cos(angle)
    pooled = []
    w_q, w_k, w_v = np.split(w["attention.in_proj_weight"], 3)
    b_q, b_k, b_v = np.split(w["attention.in_proj_bias"], 3)
    for view in range(3):
        e = psi[view] + positions[view] + w["view"][view]
        e = e / np.linalg.norm(e, axis=1, keepdims=True)  # Eq. 15
        q, k, v = w["query"] @ w_q.T + b_q, e @ w_k.T + b_k, e @ w_v.T + b_v
        size = DIM // CONFIG.heads
        heads = []
        for h in range(CONFIG.heads):
            part = slice(h * size, (h + 1) * size)
            heads.append(softmax(q[:, part] @ k[:, part].T / math.sqrt(size)) @ v[:, part])
        z = np.concatenate(heads, 1) @ w["attention.out_proj.weight"].T + w["attention.out_proj.bias"]
        z = (z - z.mean()) / np.sqrt(z.var() + 1e-5) * w["norm.weight"] + w["norm.bias"]  # Eq. 16
        pooled.append(z[0])
    hidden = gelu(np.concatenate(pooled) @ w["mlp.0.weight"].T + w["mlp.0.bias"])
    return np.mean(pooled, 0) + w["alpha"] * (hidden @ w["mlp.2.weight"].T + w["mlp.2.bias"])  # Eq. 17


def test_equations_15_to_17(model, head):
    volume, mask = head
    places, psi = np.zeros((3, 3)), np.zeros((3, 3, DIM))
    # the mask's extent is 1..6, 2..6, 1..9; three equal parts of it have these middles
    indices = {"axial": [2, 5, 8], "coronal": [2, 4, 6], "sagittal": [2, 4, 6]}
    for v, (view, chosen) in enumerate(indices.items()):
        axis = {"sagittal": 2, "coronal": 3, "axial": 4}[view]
        for z, index in enumerate(chosen):
            picture = volume.select(axis, index)[0].transpose(1, 2).flip(1)
            psi[v, z] = model.encoder(picture[None]).numpy()
            places[v, z] = index / (volume.shape[axis] - 1)
    expected = eq_15_to_17(psi, places, model.aggregator.state_dict())
    assert np.allclose(model(volume, mask).detach().numpy()[0], expected, atol=1e-4)


def test_volumes_of_a_batch_do_not_mix(model, head):
    volume, mask = head
    other, smaller = volume.flip(2) * 0.5, mask.clone()
    smaller[:, :, :4] = False
    both = model(torch.cat([volume, other]), torch.cat([mask, smaller]))
    assert torch.allclose(both, torch.cat([model(volume, mask), model(other, smaller)]), atol=1e-5)


def test_what_is_outside_the_mask_does_not_count(model, head):
    volume, mask = head
    assert torch.equal(model(torch.where(mask, volume, 0.7), mask), model(volume, mask))


def test_gradients_reach_volume_and_aggregator_but_not_the_tower(model, head):
    volume, mask = head
    volume.requires_grad_()
    model.train()(volume, mask).square().sum().backward()
    assert volume.grad[mask].abs().sum() > 0
    assert volume.grad[~mask].abs().sum() == 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.aggregator.parameters())
    assert all(p.grad is None for p in model.encoder.parameters())


def test_style_vector_is_the_difference_of_embeddings(model, head):
    volume, mask = head
    assert torch.allclose(
        model.style(volume, volume * 0.5, mask), model(volume, mask) - model(volume * 0.5, mask)
    )
    assert (model.style(volume, volume, mask) == 0).all()


def test_ablation_is_the_mean_of_axial_slices(encoder, head):
    volume, mask = head
    model = TriPlanarEncoder(encoder, TriPlanarConfig(slices=3, heads=3, aggregation="axial_mean"))
    pictures = torch.stack([volume[0, :, :, :, i].transpose(1, 2).flip(1) for i in (2, 5, 8)])
    assert torch.allclose(model(volume, mask), encoder(pictures).mean(0, keepdim=True), atol=1e-5)
    assert not model.aggregator.state_dict()


def test_alpha_starts_as_configured(encoder):
    assert TriPlanarEncoder(encoder, CONFIG).aggregator.alpha.item() == pytest.approx(0.1)


def test_heads_must_divide_the_embedding(encoder):
    with pytest.raises(ValueError, match="length 8 cannot be divided among 3 heads"):
        TriPlanarEncoder(encoder, TriPlanarConfig(heads=3))


def test_slices_keep_to_the_brain():
    mask = torch.zeros(10, 40, 10, dtype=torch.bool)
    mask[3, 8:32, 4] = True
    assert slice_indices(mask, 1, 4).tolist() == [10, 16, 22, 28]
    assert slice_indices(mask, 0, 3).tolist() == [3, 3, 3]  # fewer slices than asked for: some come twice


def test_empty_mask_is_refused(model, head):
    volume, mask = head
    with pytest.raises(ValueError, match="mask is empty"):
        model(volume, torch.zeros_like(mask))


def test_slices_are_upright():
    x, y, z = torch.meshgrid(torch.arange(3), torch.arange(4), torch.arange(5), indexing="ij")
    code = 100 * x + 10 * y + z
    sagittal, coronal, axial = (take_slices(code, axis, torch.tensor([1]))[0] for axis in range(3))
    assert sagittal.tolist() == [[100 + 10 * y + z for y in range(4)] for z in (4, 3, 2, 1, 0)]
    assert coronal.tolist() == [[100 * x + 10 + z for x in range(3)] for z in (4, 3, 2, 1, 0)]
    assert axial.tolist() == [[100 * x + 10 * y + 1 for x in range(3)] for y in (3, 2, 1, 0)]


def test_position_is_the_place_and_not_the_index():
    fine, coarse = (sinusoidal_position(torch.arange(n) / (n - 1), 6) for n in (9, 5))
    assert torch.allclose(fine[::2], coarse)
    assert not torch.allclose(fine[0], fine[1])
    assert sinusoidal_position(torch.rand(2, 3), 7).shape == (2, 3, 7)
