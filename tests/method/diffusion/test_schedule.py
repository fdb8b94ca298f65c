import numpy as np
import pytest
import torch

from bids_mmh.method.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule()
ALL = torch.arange(1, 1001)


def transcribed_alpha_bar(betas):
    return np.concatenate([[1.0], np.cumprod(1.0 - betas)])


def crossing(snr):
    """The index whose signal-to-noise ratio is nearest to 1."""
    return int(np.abs(np.asarray(snr) - 1.0).argmin())


def test_snr_is_that_of_figure_8():
    """The index into ``snr`` is the paper's t, which is 0 at the first noisy level, where ours is 1."""
    snr = SCHEDULE.snr(ALL)
    assert crossing(snr) == 254
    assert float(snr[100]) == pytest.approx(4.65, abs=0.005)


def test_truly_linear_betas_are_a_trap():
    """The word "linear" taken literally gives other numbers than the paper's own figure."""
    alpha_bar = transcribed_alpha_bar(np.linspace(0.0015, 0.0195, 1000))
    snr = alpha_bar[1:] / (1.0 - alpha_bar[1:])
    assert crossing(snr) == 205
    assert snr[100] == pytest.approx(3.64, abs=0.005)


def test_alpha_bar_transcribed():
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    np.testing.assert_allclose(SCHEDULE.alpha_bar.numpy(), transcribed_alpha_bar(betas), rtol=1e-12)
    assert SCHEDULE.alpha_bar.dtype == torch.float64


@pytest.mark.parametrize("t", [0, 1, 100, 999, 1000])
def test_add_noise_is_equation_1(t, rng):
    clean, noise = torch.randn(2, 1, 1, 2, 3, 4, generator=rng)
    alpha_bar = SCHEDULE.alpha_bar[t].item()
    expected = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noise
    noisy = SCHEDULE.add_noise(clean, noise, torch.tensor([t]))
    torch.testing.assert_close(noisy, expected, atol=1e-6, rtol=1e-5)
    if t == 0:
        assert torch.equal(noisy, clean)


def test_clean_estimate_undoes_add_noise(rng):
    t = torch.tensor([1, 50, 254, 1000])
    clean, noise = torch.randn(2, 4, 1, 3, 3, 3, generator=rng, dtype=torch.float64)
    noisy = SCHEDULE.add_noise(clean, noise, t)
    torch.testing.assert_close(SCHEDULE.clean_estimate(noisy, noise, t), clean, atol=1e-12, rtol=0)
    single = SCHEDULE.clean_estimate(noisy.float(), noise.float(), t)
    torch.testing.assert_close(single, clean.float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_dtype_and_shape_follow_the_volume(dtype):
    volume = torch.ones(2, 1, 3, 4, 5, dtype=dtype)
    t = torch.tensor([3, 700])
    signal, sigma = SCHEDULE.signal_and_noise(t, volume)
    assert signal.shape == sigma.shape == (2, 1, 1, 1, 1)
    for result in (SCHEDULE.add_noise(volume, volume, t), SCHEDULE.clean_estimate(volume, volume, t)):
        assert result.dtype == dtype
        assert result.shape == volume.shape
    assert not torch.equal(signal[0], signal[1])
