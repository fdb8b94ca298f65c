import numpy as np
import pytest
import torch

from bids_mmh.method.gradient import gradient_map
from bids_mmh.method.losses import ema_loss, gradient_loss, noise_loss, reliability
from bids_mmh.method.style import StyleStatistics

SHAPE = (2, 1, 3, 4, 5)


def test_noise_loss_is_a_mean_over_what_counts(rng):
    noise, epsilon = torch.randn(2, *SHAPE, generator=rng)
    counts = torch.rand(SHAPE, generator=rng) > 0.3
    counts[1] = True
    loss = noise_loss(noise, epsilon, counts)
    for i in range(2):
        error = (noise[i].numpy() - epsilon[i].numpy())[counts[i].numpy()]
        assert float(loss[i]) == pytest.approx(np.mean(error**2), rel=1e-5)


def test_noise_loss_has_no_gradient_where_nothing_counts():
    epsilon = torch.ones(SHAPE, requires_grad=True)
    counts = torch.zeros(SHAPE, dtype=torch.bool)
    counts[..., 0] = True
    noise_loss(torch.zeros(SHAPE), epsilon, counts).sum().backward()
    assert torch.equal(epsilon.grad != 0, counts)


def test_gradient_loss_transcribed(rng):
    image, estimate = torch.randn(2, *SHAPE, generator=rng)
    loss = gradient_loss(gradient_map(image), estimate)
    for i in range(2):
        difference = gradient_map(image).numpy()[i] - gradient_map(estimate).numpy()[i]
        assert float(loss[i]) == pytest.approx(np.mean(difference**2), rel=1e-5)


def test_gradient_loss_does_not_see_a_change_of_style(rng):
    image = torch.randn(SHAPE, generator=rng)
    assert gradient_loss(gradient_map(image), 0.3 * image + 0.2).max() < 1e-10


def test_ema_loss_transcribed(rng):
    a, b = torch.rand(2, 2, 6, generator=rng)
    a, b = a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)
    record = StyleStatistics(a, torch.tensor([0.1, 0.2]), torch.tensor([0.5, 0.6]))
    style = StyleStatistics(b, torch.tensor([0.4, 0.0]), torch.tensor([0.3, 0.6]))
    distance = np.abs(np.cumsum(a.numpy(), 1) - np.cumsum(b.numpy(), 1)).mean(1)
    expected = distance + np.array([0.3**2 + 0.2**2, 0.2**2])
    np.testing.assert_allclose(ema_loss(record, style), expected, rtol=1e-5)
    assert not ema_loss(record, record).any()


def test_reliability_fades_to_nothing_past_the_threshold():
    weight = reliability(torch.tensor([0, 50, 100, 101, 900]), threshold=100)
    assert weight.tolist() == pytest.approx([1, 51 / 101, 1 / 101, 0, 0])
    assert weight.dtype == torch.float32
