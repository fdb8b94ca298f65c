import math

import numpy as np
import pytest
import torch

from bids_mmh.method.diffusion.gradient import gradient_map, interior, mean_forward_difference


@pytest.fixture
def volume(rng):
    # eighths up to 2, so that adding a whole number or scaling by a power of two is exact in float32
    return torch.randint(-16, 17, (2, 1, 5, 6, 7), generator=rng) / 8.0


def ramp():
    """I = 1·h + 2·w + 6·d: every forward difference averages to 3."""
    h, w, d = torch.meshgrid(*[torch.arange(3.0)] * 3, indexing="ij")
    return (h + 2 * w + 6 * d)[None, None]


def test_mean_forward_difference_of_a_ramp():
    difference = mean_forward_difference(ramp())[0, 0]
    assert torch.equal(difference[:2, :2, :2], torch.full((2, 2, 2), 3.0))
    for face in (difference[2], difference[:, 2], difference[:, :, 2]):
        assert not face.any()


def test_gradient_of_a_ramp():
    """27 voxels, so the 0.99 quantile is the largest magnitude, 3; the sign follows the slope."""
    gradient = gradient_map(torch.cat([ramp(), -ramp()]))
    expected = torch.zeros(3, 3, 3)
    expected[:2, :2, :2] = math.tanh(1.0)
    torch.testing.assert_close(gradient[0, 0], expected)
    torch.testing.assert_close(gradient[1, 0], -expected)


def test_transcription_of_equation_2(rng):
    image = torch.randn(1, 1, 9, 10, 11, generator=rng)
    I = image[0, 0].double().numpy()  # noqa: E741
    difference = np.zeros_like(I)
    for h in range(8):
        for w in range(9):
            for d in range(10):
                around = I[h + 1, w, d] + I[h, w + 1, d] + I[h, w, d + 1]
                difference[h, w, d] = (around - 3 * I[h, w, d]) / 3
    peak = np.quantile(np.abs(difference), 0.99, method="inverted_cdf")
    np.testing.assert_allclose(gradient_map(image)[0, 0], np.tanh(difference / peak), atol=1e-5)


@pytest.mark.parametrize("a", [2.0**-40, 0.5, 1.0, 4.0, 2.0**40])
@pytest.mark.parametrize("b", [-3.0, 0.0, 5.0])
def test_invariant_to_intensity_scale_and_shift(volume, a, b):
    torch.testing.assert_close(gradient_map(a * (volume + b)), gradient_map(volume), atol=1e-6, rtol=0)


def test_each_volume_of_a_batch_has_its_own_peak(volume):
    apart = torch.cat([gradient_map(volume[:1]), gradient_map(1000 * volume[1:])])
    torch.testing.assert_close(gradient_map(volume), apart, atol=1e-6, rtol=0)


def test_constant_has_no_gradient():
    assert not gradient_map(torch.full((1, 1, 4, 4, 4), 0.7)).any()


def test_bounded(volume):
    volume[0, 0, 2, 2, 2] = 1e6
    assert gradient_map(volume).abs().max() <= 1.0


def test_differentiable(rng):
    image = torch.randn(1, 1, 3, 3, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gradient_map, (image,))


def test_more_voxels_than_quantile_takes():
    image = torch.zeros(1, 1, 2, 2**12, 2**11 + 1)
    image[:, :, 0, :-1, :-1] = -3.0  # every difference along h is 3, those along w and d 0 but at the rim
    assert image.numel() > 2**24
    gradient = gradient_map(image)
    assert float(gradient[0, 0, 0, 5, 5]) == pytest.approx(math.tanh(1.0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares with CUDA, and there is none here")
def test_equal_on_cpu_and_gpu(volume):
    torch.testing.assert_close(gradient_map(volume.cuda()).cpu(), gradient_map(volume), atol=1e-6, rtol=0)


def test_inside_a_mask_the_step_to_the_background_does_not_count(rng):
    volume = torch.randn(1, 1, 10, 10, 10, generator=rng)
    mask = torch.zeros_like(volume, dtype=torch.bool)
    mask[..., 2:8, 2:8, 2:8] = True
    shown = gradient_map(torch.where(mask, volume, -1.0), mask)
    torch.testing.assert_close(shown, gradient_map(torch.where(mask, volume, -50.0), mask))
    inside = interior(mask)
    assert not shown[~inside].any()
    alone = gradient_map(volume[..., 2:8, 2:8, 2:8], mask[..., 2:8, 2:8, 2:8])
    torch.testing.assert_close(shown[..., 2:8, 2:8, 2:8], alone)


def test_interior_needs_the_three_forward_neighbours():
    mask = torch.ones(1, 1, 3, 3, 3, dtype=torch.bool)
    mask[..., 1, 1, 1] = False
    inside = interior(mask)[0, 0]
    expected = torch.zeros(3, 3, 3, dtype=torch.bool)
    expected[:2, :2, :2] = True
    for hole in ((1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0)):
        expected[hole] = False
    assert torch.equal(inside, expected)
