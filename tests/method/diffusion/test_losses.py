import numpy as np
import pytest
import torch

from bids_mmh.method.diffusion.gradient import gradient_map, interior
from bids_mmh.method.diffusion.losses import ema_loss, gradient_loss, noise_loss, reliability
from bids_mmh.method.style.statistics import StyleStatistics

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


def everywhere(like):
    return torch.ones_like(like, dtype=torch.bool)


def test_gradient_loss_is_equation_5_inside_the_brain(rng):
    image, estimate = torch.randn(2, *SHAPE, generator=rng)
    mask = everywhere(image)
    mask[1, :, 0] = False
    loss = gradient_loss(image, estimate, mask)
    inside = interior(mask).numpy()
    for i in range(2):
        a, b = (gradient_map(v, mask).numpy()[i] for v in (image, estimate))
        assert float(loss[i]) == pytest.approx(np.mean((a - b)[inside[i]] ** 2), rel=1e-5)


def test_gradient_loss_does_not_see_a_change_of_style_though_the_background_stays(rng):
    image = torch.randn(2, 1, 12, 12, 12, generator=rng)
    mask = everywhere(image)
    mask[..., :3, :, :] = False
    changed = torch.where(mask, 0.3 * image + 0.2, image)
    assert gradient_loss(image, changed, mask, scales=3).max() < 1e-10
    assert gradient_loss(image, changed, everywhere(image), scales=3).min() > 1e-4


def test_gradient_loss_sees_a_slow_field_at_coarse_scales(rng):
    """A spot that darkens the middle: next to nothing at full resolution, plain where voxels are large."""
    from scipy.ndimage import gaussian_filter

    anatomy = gaussian_filter(np.random.default_rng(0).standard_normal((32, 32, 32)), 1.0)
    image = torch.from_numpy((anatomy / anatomy.std() * 0.4).astype(np.float32))[None, None]
    axis = torch.linspace(-1, 1, 32) ** 2
    spot = torch.exp(-2 * (axis[:, None, None] + axis[:, None] + axis))
    darkened = image - 0.5 * spot
    fine = float(gradient_loss(image, darkened, everywhere(image)))
    several = float(gradient_loss(image, darkened, everywhere(image), scales=4))
    assert several > 10 * fine


def test_gradient_loss_stops_where_no_brain_is_left():
    image = torch.arange(27.0).view(1, 1, 3, 3, 3).sin()
    estimate = image.square()
    mask = everywhere(image)
    once = gradient_loss(image, estimate, mask)
    assert once > 0
    torch.testing.assert_close(gradient_loss(image, estimate, mask, scales=5), once)


def test_gradient_loss_means_over_the_scales(rng):
    image, estimate = torch.randn(2, 1, 1, 8, 8, 8, generator=rng)
    mask = everywhere(image)
    pooled = [torch.nn.functional.avg_pool3d(v, 2) for v in (image, estimate)]
    expected = (gradient_loss(image, estimate, mask) + gradient_loss(*pooled, everywhere(pooled[0]))) / 2
    torch.testing.assert_close(gradient_loss(image, estimate, mask, scales=2), expected)


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
