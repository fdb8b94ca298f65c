import numpy as np
import pytest
import torch

from bids_mmh.method.style.code import LEVELS, REACH, code_length, quantiles, style_code
from bids_mmh.method.style.statistics import StyleStatistics, soft_histogram, style_statistics

K = 100
SPACING = 2 / (K - 1)


def tissues(generator, scale=1.0, shift=0.0, count=20000):
    modes = torch.tensor([-0.5, 0.0, 0.4])[torch.randint(0, 3, (count,), generator=generator)]
    return scale * (modes + 0.08 * torch.randn(count, generator=generator)) + shift


def statistics(*values):
    return StyleStatistics(
        torch.stack([soft_histogram(v) for v in values]),
        torch.stack([v.mean() for v in values]),
        torch.stack([v.std() for v in values]),
    )


@pytest.fixture
def own(rng):
    return statistics(tissues(rng), tissues(rng, 0.5, 0.3))


@pytest.fixture
def condition(rng):
    return statistics(tissues(rng, 0.8, -0.1), tissues(rng, 1.1, 0.1))


def test_levels_go_evenly_from_5_to_95_percent():
    np.testing.assert_allclose(LEVELS, np.linspace(0.05, 0.95, 11))


def test_quantiles_of_a_uniform_distribution():
    values = torch.linspace(-0.8, 0.6, 20001)
    expected = np.quantile(values.numpy(), LEVELS)
    np.testing.assert_allclose(quantiles(soft_histogram(values)[None])[0], expected, atol=SPACING)


def test_quantiles_interpolate_the_cumulative_histogram(own):
    centres = np.linspace(-1, 1, K)
    for ours, histogram in zip(quantiles(own.histogram), own.histogram.double().numpy(), strict=True):
        np.testing.assert_allclose(ours, np.interp(LEVELS, np.cumsum(histogram), centres), atol=1e-4)


def test_quantiles_move_as_those_of_the_values_do(rng):
    """What the code uses is their difference, in which the width of a bin cancels."""
    wide = torch.rand(20000, generator=rng) * 1.6 - 0.8
    narrow = 0.7 * wide + 0.15
    ours = quantiles(soft_histogram(narrow)[None]) - quantiles(soft_histogram(wide)[None])
    expected = np.quantile(narrow.numpy(), LEVELS) - np.quantile(wide.numpy(), LEVELS)
    np.testing.assert_allclose(ours[0], expected, atol=0.005)


def test_a_shift_by_whole_bins_shifts_every_quantile_as_far(own):
    moved = quantiles(own.histogram.roll(3, dims=1))
    torch.testing.assert_close(moved, quantiles(own.histogram) + 3 * SPACING, atol=1e-4, rtol=0)


@pytest.mark.parametrize("bin", [0, 37, K - 1])
def test_quantiles_of_a_single_bin_lie_at_it(bin):
    histogram = torch.zeros(1, K)
    histogram[0, bin] = 1.0
    centre = -1 + bin * SPACING
    assert (quantiles(histogram) - centre).abs().max() <= SPACING + 1e-6


def test_quantiles_of_nothing_are_finite():
    """The record of a sequence that was never seen."""
    assert quantiles(torch.zeros(2, K)).isfinite().all()


def test_quantiles_climb(own):
    assert (quantiles(own.histogram).diff(dim=1) > 0).all()


@pytest.mark.parametrize("kind", ["displacement", "record"])
def test_code_has_its_length(own, condition, kind):
    assert style_code(own, condition, kind).shape == (2, code_length(kind))


def test_record_is_equation_8_to_the_letter(own, condition):
    """Mean and standard deviation of the style conditioned on and nothing else."""
    expected = torch.stack([condition.mean, condition.std], dim=1)
    assert torch.equal(style_code(own, condition, "record"), expected)
    assert torch.equal(style_code(condition, condition, "record"), expected)


def test_displacement_transcribed(own, condition):
    code = style_code(own, condition)
    centres = np.linspace(-1, 1, K)
    for i in range(2):
        own_levels, condition_levels = (
            np.interp(LEVELS, np.cumsum(style.histogram[i].double().numpy()), centres)
            for style in (own, condition)
        )
        moments = [float(condition.mean[i]), float(condition.std[i])]
        way = [
            float(condition.mean[i] - own.mean[i]),
            float(condition.std[i] - own.std[i]),
            *(condition_levels - own_levels),
        ]
        np.testing.assert_allclose(code[i], [*moments, *(10 * np.array(way))], atol=2e-3)


def test_a_scan_conditioned_on_its_own_style_has_no_displacement(own):
    code = style_code(own, own)
    assert torch.equal(code[:, :2], own.moments)
    assert not code[:, 2:].any()


def test_the_displacement_back_is_the_displacement_reversed(own, condition):
    there, back = style_code(own, condition)[:, 2:], style_code(condition, own)[:, 2:]
    assert there.abs().min() > 0
    assert torch.equal(there, -back)


def test_samples_do_not_meet(own, condition):
    alone = StyleStatistics(own.histogram[1:], own.mean[1:], own.std[1:])
    goal = StyleStatistics(condition.histogram[1:], condition.mean[1:], condition.std[1:])
    assert torch.equal(style_code(own, condition)[1:], style_code(alone, goal))


def test_a_change_of_brightness_is_its_own_way(rng):
    """An affine map of the intensities moves mean and quantiles as the map says."""
    brain = tissues(rng).view(1, 1, 20, 25, 40)
    mask = torch.ones_like(brain, dtype=torch.bool)
    way = style_code(style_statistics(brain, mask), style_statistics(brain + 0.1, mask))[0, 2:]
    assert float(way[0]) == pytest.approx(0.1 * REACH, abs=1e-4)
    assert float(way[1]) == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(way[2:], 0.1 * REACH, atol=0.05)


def test_what_remains_of_the_displacement_is_per_sample(own, condition):
    whole = style_code(own, condition)
    part = style_code(own, condition, remaining=torch.tensor([1.0, 0.25]))
    assert torch.equal(part[0], whole[0])
    assert torch.equal(part[1, :2], whole[1, :2])
    torch.testing.assert_close(part[1, 2:], 0.25 * whole[1, 2:])
