import numpy as np
import pytest
import scipy.stats
import torch

from bids_mmh.method.precision import fast_autocast
from bids_mmh.method.style.statistics import (
    StyleRecords,
    StyleStatistics,
    soft_histogram,
    style_statistics,
    to_style,
    wasserstein,
)

K = 100
SPREAD_BOUND = 1e-3  # of the highest bin, for a brain-like distribution
SINGLE_BOUND = 1e-2  # the same for a single value
GRADIENT_BOUND = 1e-2  # relative, in norm


def direct_histogram(values, bins=K):
    """Eqs. 6 and 7 as they stand, with the whole (voxels × bins) matrix."""
    centres = torch.linspace(-1, 1, bins, dtype=torch.float64)
    h = centres[1] - centres[0]
    weights = torch.exp(-((values.double()[:, None] - centres) ** 2) / (2 * h**2)).sum(0)
    return weights / weights.sum()


def brain_like(generator, count=4000):
    """Three overlapping tissues, so a histogram with three modes."""
    modes = torch.tensor([-0.6, 0.1, 0.5])[torch.randint(0, 3, (count,), generator=generator)]
    return (modes + 0.08 * torch.randn(count, generator=generator)).clamp(-1, 1)


def test_soft_histogram_matches_the_direct_formula(rng):
    values = brain_like(rng)
    direct = direct_histogram(values)
    error = (soft_histogram(values) - direct).abs().max() / direct.max()
    assert error < SPREAD_BOUND


@pytest.mark.parametrize("value", [-1.0, -0.503, 0.0, 0.4312, 1.0])
def test_soft_histogram_of_a_single_value(value):
    """The worst case: nothing averages the interpolation error out."""
    values = torch.tensor([value])
    direct = direct_histogram(values)
    assert (soft_histogram(values) - direct).abs().max() / direct.max() < SINGLE_BOUND


def test_soft_histogram_gradient_matches_the_direct_one(rng):
    values = brain_like(rng, 500)
    weights = torch.linspace(0, 6, K).sin()
    gradients = []
    for histogram in (soft_histogram, direct_histogram):
        x = values.clone().requires_grad_()
        (histogram(x) * weights).sum().backward()
        gradients.append(x.grad)
    ours, direct = gradients
    assert direct.abs().max() > 0
    assert (ours - direct).norm() / direct.norm() < GRADIENT_BOUND


def test_soft_histogram_sums_to_one_and_ignores_far_values(rng):
    values = brain_like(rng)
    with_outliers = torch.cat([values, torch.tensor([-9.0, 1.5, float("inf")])])
    assert float(soft_histogram(values).sum()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(soft_histogram(with_outliers), soft_histogram(values))
    assert not soft_histogram(torch.tensor([7.0])).any()


def test_soft_histogram_bins_are_centred_from_end_to_end():
    assert int(soft_histogram(torch.tensor([-1.0])).argmax()) == 0
    assert int(soft_histogram(torch.tensor([1.0])).argmax()) == K - 1
    assert int(soft_histogram(torch.tensor([0.0]), bins=21).argmax()) == 10


def test_statistics_stay_in_float32_where_the_network_runs_in_bf16(rng, bfloat16):
    volume = brain_like(rng).view(1, 1, 10, 20, 20)
    mask = volume > -0.9
    expected = style_statistics(volume, mask)
    with fast_autocast(volume.device):
        style = style_statistics(volume, mask)
    for name in ("histogram", "mean", "std"):
        assert getattr(style, name).dtype == torch.float32
        torch.testing.assert_close(getattr(style, name), getattr(expected, name))


def test_wider_bandwidth_is_smoother(rng):
    values = brain_like(rng)
    assert soft_histogram(values, bandwidth=0.2).max() < 0.7 * soft_histogram(values).max()


def test_statistics_look_inside_the_mask_only(rng):
    volume = torch.rand(2, 1, 3, 4, 5, generator=rng)
    mask = torch.rand(volume.shape, generator=rng) > 0.4
    style = style_statistics(volume, mask, bins=K)
    for i in range(2):
        inside = volume[i][mask[i]].numpy()
        assert float(style.mean[i]) == pytest.approx(inside.mean(), abs=1e-6)
        assert float(style.std[i]) == pytest.approx(inside.std(ddof=1), abs=1e-6)
        assert torch.equal(style.histogram[i], soft_histogram(volume[i][mask[i]]))
    assert torch.equal(style.moments, torch.stack([style.mean, style.std], 1))


def test_wasserstein_is_the_earth_movers_distance_in_other_units(rng):
    """W1 is the sum of |ΔCDF| × spacing 2/(K − 1); the method takes the mean over the K bins instead."""
    centres = torch.linspace(-1, 1, K).numpy()
    a, b = direct_histogram(brain_like(rng)), direct_histogram(0.5 * brain_like(rng) + 0.2)
    distance = scipy.stats.wasserstein_distance(centres, centres, a.numpy(), b.numpy())
    assert float(wasserstein(a, b)) == pytest.approx(distance * (K - 1) / (2 * K), rel=1e-6)
    assert float(wasserstein(a, a)) == 0


@pytest.mark.parametrize("move", [lambda x: x + 0.2, lambda x: 0.6 * x, lambda x: 0.8 * x.abs() - 0.5])
def test_wasserstein_of_known_samples(rng, move):
    """From the values themselves, not from their histograms; the kernel widens both alike."""
    a = 0.3 * torch.rand(5000, generator=rng).logit().clamp(-2, 2)
    b = move(a)
    distance = scipy.stats.wasserstein_distance(a.numpy(), b.numpy())
    ours = wasserstein(soft_histogram(a), soft_histogram(b))
    assert float(ours) == pytest.approx(distance * (K - 1) / (2 * K), rel=0.03)


def test_wasserstein_of_a_shift_by_three_bins():
    a = torch.zeros(2, K)
    a[:, 40] = 1.0
    torch.testing.assert_close(wasserstein(a, a.roll(3, dims=1)), torch.full((2,), 3 / K))


def style(*means):
    count = len(means)
    mean = torch.tensor(means)
    return StyleStatistics(torch.eye(4)[:count] + 0 * mean[:, None], mean, mean + 10)


def test_records_start_from_the_first_image_of_each_sequence():
    records = StyleRecords(2, bins=4)
    records.initialise(torch.tensor([1, 1]), style(0.5, 0.9))
    records.initialise(torch.tensor([1]), style(-0.7))
    assert records.seen.tolist() == [False, True]
    assert float(records.mean[1]) == 0.5
    assert float(records.std[1]) == 10.5
    assert records.histogram[1].tolist() == [1, 0, 0, 0]
    assert not records.histogram[0].any()


def test_a_record_can_be_assigned_whatever_was_there():
    records = StyleRecords(2, bins=4)
    for mean in (0.5, -0.7):
        records.assign(1, style(mean))
        assert records.of(torch.tensor([1])).moments.flatten().tolist() == pytest.approx([mean, mean + 10])
    assert records.histogram[1].tolist() == [1, 0, 0, 0]
    assert records.seen.tolist() == [False, True]
    assert not records.histogram[0].any()


def test_records_follow_equation_9_when_reliable():
    records = StyleRecords(2, bins=4, decay=0.8)
    records.initialise(torch.tensor([0, 1]), style(0.5, 0.5))
    records.update(torch.tensor([0, 1, 0]), style(1.0, 3.0, 2.0), torch.tensor([True, False, True]))
    assert float(records.mean[0]) == pytest.approx(0.8 * (0.8 * 0.5 + 0.2 * 1.0) + 0.2 * 2.0)
    assert float(records.std[0]) == pytest.approx(0.8 * (0.8 * 10.5 + 0.2 * 11.0) + 0.2 * 12.0)
    assert records.histogram[0].tolist() == pytest.approx([0.8, 0, 0.2, 0])
    assert float(records.mean[1]) == 0.5


def test_equation_9_transcribed(rng):
    """A long run of both sequences, reliable or not, beside the formula with γ = 0.8."""
    gamma, count = 0.8, 30
    sequence = torch.randint(0, 2, (count,), generator=rng)
    reliable = torch.rand(count, generator=rng) < 0.5
    styles = StyleStatistics(
        torch.rand(count, 4, generator=rng),
        torch.randn(count, generator=rng),
        torch.rand(count, generator=rng),
    )
    records = StyleRecords(2, bins=4, decay=gamma)
    records.initialise(torch.tensor([0, 1]), style(0.5, -0.5))
    expected = {
        "histogram": records.histogram.double().numpy(),
        "mean": records.mean.double().numpy(),
        "std": records.std.double().numpy(),
    }
    for i in range(count):
        if reliable[i]:
            m = int(sequence[i])
            for name, record in expected.items():
                record[m] = gamma * record[m] + (1 - gamma) * getattr(styles, name)[i].numpy()
    records.update(sequence, styles, reliable)
    assert 5 < int(reliable.sum()) < 25
    for name, record in expected.items():
        np.testing.assert_allclose(getattr(records, name), record, rtol=1e-5)


def test_records_are_part_of_the_state():
    records, copy = StyleRecords(2, bins=4), StyleRecords(2, bins=4)
    records.initialise(torch.tensor([1]), style(0.5))
    copy.load_state_dict(records.state_dict())
    by_tissue = {"median", "spread", "detail", "regional"}
    assert set(records.state_dict()) == {"histogram", "mean", "std", "seen"} | by_tissue
    assert copy.seen.tolist() == [False, True]
    assert torch.equal(copy.of(torch.tensor([1])).moments, torch.tensor([[0.5, 10.5]]))
    assert not list(records.parameters())


def test_records_are_not_reached_by_gradients():
    records = StyleRecords(1, bins=4)
    mean = torch.tensor([0.5], requires_grad=True)
    records.initialise(torch.tensor([0]), StyleStatistics(torch.ones(1, 4), mean, mean))
    assert not records.of(torch.tensor([0])).mean.requires_grad


def test_to_style_gives_the_brain_exactly_the_asked_moments_and_keeps_its_gradient_map():
    generator = torch.Generator().manual_seed(3)
    volume = torch.rand(2, 1, 12, 10, 8, generator=generator) - 0.3
    mask = torch.zeros_like(volume, dtype=torch.bool)
    mask[..., 1:-1, 1:-1, 1:-1] = True
    volume = torch.where(mask, volume, -1.0)
    wanted = torch.tensor([[0.25, 0.5], [-0.4, 0.1]])
    moved = to_style(volume, mask, wanted)
    for i, (mean, std) in enumerate(wanted.tolist()):
        inside = moved[i][mask[i]]
        assert inside.mean().item() == pytest.approx(mean, abs=1e-5)
        assert inside.std(correction=0).item() == pytest.approx(std, abs=1e-5)
        # an increasing affine map: no voxel changes rank
        assert torch.equal(inside.argsort(), volume[i][mask[i]].argsort())
    assert torch.equal(moved[~mask], volume[~mask])
