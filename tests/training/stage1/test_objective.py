from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from bids_mmh.method.diffusion.gradient import gradient_map, interior
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.code import style_code
from bids_mmh.method.style.contrast import contrast_part
from bids_mmh.method.style.statistics import StyleStatistics, soft_histogram, style_statistics
from bids_mmh.training.data.scans import Volume
from bids_mmh.training.stage1.objective import Draw, draw, stage1_losses

SHAPE = (2, 1, 8, 8, 10)
TAU = 100


@pytest.fixture
def volume(rng):
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[..., 2:8, 2:8, 2:8] = True  # of whole cells of 2×2×2, so that halving is plain averaging
    image = torch.where(mask, torch.rand(SHAPE, generator=rng) - 0.5, -1.0)
    return Volume(image, mask, torch.tensor([0, 1]))


def build(config):
    torch.manual_seed(0)
    model = Harmonizer(config)
    for parameter in model.network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    mean, std = torch.tensor([0.4, -0.4]), torch.tensor([0.3, 0.2])
    values = mean[:, None] + 3**0.5 * std[:, None] * torch.linspace(-1, 1, 1001)
    histogram = torch.stack([soft_histogram(v, config.bins) for v in values])
    model.records.initialise(torch.tensor([0, 1]), StyleStatistics(histogram, mean, std))
    return model


@pytest.fixture
def model(tiny):
    return build(tiny)


def choose(rng, t, unified):
    return Draw(torch.tensor(t), torch.randn(SHAPE, generator=rng), torch.tensor(unified))


def losses(model, volume, chosen, recipe):
    return stage1_losses(model, model.network, volume, chosen, recipe).losses


def observed(model, volume, chosen, recipe):
    return stage1_losses(model, model.network, volume, chosen, recipe).observed


def values(*arguments, **options):
    """The same, cut from the graph."""
    with torch.no_grad():
        return losses(*arguments, **options)


def codes(model, volume):
    """The style code of each sample under its own style, and under the record."""
    own, record = style_statistics(volume.image, volume.mask, 20), model.records.of(volume.sequence)
    return style_code(own, own), style_code(own, record)


def predicted(model, volume, chosen, style):
    """ε, and the clean estimate by Eq. 4, from the schedule's definition."""
    alpha_bar = model.schedule.alpha_bar[chosen.t].float().view(-1, 1, 1, 1, 1)
    noisy = alpha_bar.sqrt() * volume.image + (1 - alpha_bar).sqrt() * chosen.noise
    with torch.no_grad():
        epsilon = model.network(noisy, chosen.t, gradient_map(volume.image), volume.sequence, style)
    return epsilon, (noisy - (1 - alpha_bar).sqrt() * epsilon) / alpha_bar.sqrt()


def anatomy(volume, estimate, sizes):
    """L_G inside the brain with voxels of so many edges (Eq. 5 at each), by plain averages."""
    found = []
    for size in sizes:
        image, clean, mask = (F.avg_pool3d(v, size) for v in (volume.image, estimate, volume.mask.float()))
        difference = gradient_map(image, mask == 1) - gradient_map(clean, mask == 1)
        found.append(difference[interior(mask == 1)].square().mean())
    return float(sum(found) / len(found))


def test_own_style_counts_noise_everywhere(model, volume, recipe, rng):
    chosen = choose(rng, [50, 150], [False, False])
    own, record = codes(model, volume)
    assert not torch.equal(own, record)
    epsilon, estimate = predicted(model, volume, chosen, own)
    result = values(model, volume, chosen, recipe)
    noise = (chosen.noise - epsilon).square().mean()
    assert float(result.noise) == pytest.approx(float(noise), rel=1e-4)
    assert float(result.gradient) == pytest.approx(anatomy(volume, estimate, (1, 2)), rel=1e-3)
    assert float(result.ema) == 0
    assert float(result.total) == pytest.approx(float(result.noise + result.gradient), rel=1e-5)


@pytest.mark.parametrize("up_to_contrast", [True, False])
def test_unified_style_frees_the_contrast_of_the_brain_up_to_tau(model, volume, recipe, rng, up_to_contrast):
    """The first sample is at τ, the second beyond it. Without the switch the brain is free altogether."""
    chosen = choose(rng, [TAU, TAU + 1], [True, True])
    record = model.records.of(volume.sequence)
    epsilon, estimate = predicted(model, volume, chosen, codes(model, volume)[1])
    error = (chosen.noise - epsilon).square()
    background = error[0][~volume.mask[0]]
    inside = volume.mask[:1]
    rest = (chosen.noise - epsilon)[:1]
    rest = (rest - contrast_part(volume.image[:1], rest, inside))[inside].square()
    first = torch.cat([background, rest]).mean() if up_to_contrast else background.mean()
    noise = (first + error[1].mean()) / 2
    style = style_statistics(estimate[:1], volume.mask[:1], 20)
    distance = (record.histogram[0].cumsum(0) - style.histogram[0].cumsum(0)).abs().mean()
    moments = (record.mean[0] - style.mean[0]) ** 2 + (record.std[0] - style.std[0]) ** 2
    result = values(model, volume, chosen, replace(recipe, noise_up_to_contrast=up_to_contrast))
    assert float(result.noise) == pytest.approx(float(noise), rel=1e-4)
    assert float(result.ema) == pytest.approx(float((distance + moments) / (TAU + 1) / 2), rel=1e-3)


@pytest.mark.parametrize(("scales", "sizes"), [(1, (1,)), (2, (1, 2)), (4, (1, 2))])
@pytest.mark.parametrize("unified", [False, True])
def test_anatomy_is_compared_at_the_scales_of_the_recipe(model, volume, recipe, rng, scales, sizes, unified):
    """Whatever the style code; of four scales two have brain enough."""
    chosen = choose(rng, [50, 150], [unified] * 2)
    _, estimate = predicted(model, volume, chosen, codes(model, volume)[int(unified)])
    result = values(model, volume, chosen, replace(recipe, gradient_scales=scales))
    assert float(result.gradient) == pytest.approx(anatomy(volume, estimate, sizes), rel=1e-3)
    assert anatomy(volume, estimate, (1,)) != pytest.approx(anatomy(volume, estimate, (1, 2)), rel=0.05)


@pytest.mark.parametrize("unified", [[True, False], [False, True]])
def test_each_sample_is_conditioned_on_what_was_drawn_for_it(model, volume, recipe, rng, unified):
    seen = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[4]))
    values(model, volume, choose(rng, [50, 150], unified), recipe)
    own, record = codes(model, volume)
    expected = torch.stack([(record if drawn else own)[i] for i, drawn in enumerate(unified)])
    torch.testing.assert_close(seen[0], expected)


def test_weights_of_the_terms(model, volume, recipe, rng):
    chosen = choose(rng, [50, 60], [True, False])
    plain = values(model, volume, chosen, recipe)
    weighted = values(
        model, volume, chosen, replace(recipe, weight_noise=2.0, weight_gradient=3.0, weight_ema=4.0)
    )
    assert float(plain.ema) > 0
    for name, weight in (("noise", 2), ("gradient", 3), ("ema", 4)):
        assert float(getattr(weighted, name)) == pytest.approx(weight * float(getattr(plain, name)), rel=1e-5)
    parts = weighted.noise + weighted.gradient + weighted.ema
    assert float(weighted.total) == pytest.approx(float(parts), rel=1e-5)


def state(records):
    return {name: value.clone() for name, value in records.state_dict().items()}


@pytest.mark.parametrize(
    ("t", "unified", "sequences"),
    [
        ([50, TAU + 1], [False, False], [0]),
        ([TAU + 1, TAU], [False, False], [1]),
        ([50, 60], [False, False], [0, 1]),
        ([TAU + 1, 900], [False, False], []),
        ([50, 60], [True, False], [1]),
        ([50, 60], [False, True], [0]),
        ([50, 60], [True, True], []),
    ],
)
def test_only_reliable_samples_of_their_own_style_are_observed(
    model, volume, recipe, rng, t, unified, sequences
):
    seen = observed(model, volume, choose(rng, t, unified), recipe)
    assert [one.sequence for one in seen] == sequences


def test_what_is_observed_is_the_style_of_the_estimate(model, volume, recipe, rng):
    chosen = choose(rng, [30, 900], [False, False])
    _, estimate = predicted(model, volume, chosen, codes(model, volume)[0])
    style, scan = (style_statistics(v[:1], volume.mask[:1], 20) for v in (estimate, volume.image))
    (one,) = observed(model, volume, chosen, recipe)
    assert (one.style.mean - scan.mean).abs() > 1e-3
    for name in ("histogram", "mean", "std"):
        value = getattr(one.style, name)
        torch.testing.assert_close(value, getattr(style, name), atol=1e-5, rtol=1e-4)
        assert not value.requires_grad


def test_losses_leave_the_records_alone(model, volume, recipe, rng):
    before = state(model.records)
    losses(model, volume, choose(rng, [50, 50], [True, False]), recipe)
    assert all(torch.equal(before[name], value) for name, value in state(model.records).items())


def test_gradients_reach_the_whole_network_and_no_record(model, volume, recipe, rng):
    losses(model, volume, choose(rng, [50, 150], [True, False]), recipe).total.backward()
    silent = [name for name, p in model.network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert not any(value.requires_grad for value in model.records.state_dict().values())


def test_style_loss_alone_reaches_the_network(model, volume, recipe, rng):
    only = replace(recipe, weight_noise=0.0, weight_gradient=0.0)
    losses(model, volume, choose(rng, [50, 150], [True, True]), only).total.backward()
    assert model.network.head.weight.grad.abs().sum() > 0


def test_draws_follow_the_seed_and_the_recipe(volume, recipe):
    draws = [draw(volume, replace(recipe, max_timestep=3), seed) for seed in range(60)]
    assert {int(t) for d in draws for t in d.t} == {1, 2, 3}
    assert 30 < sum(int(d.unified.sum()) for d in draws) < 90
    assert torch.equal(draw(volume, recipe, 5).t, draw(volume, recipe, 5).t)
    assert not torch.equal(draws[0].noise, draws[1].noise)
    for share, count in ((0.0, 0), (1.0, 2)):
        assert int(draw(volume, replace(recipe, unified_share=share), 0).unified.sum()) == count


def test_without_ema_guidance_no_record_is_conditioned_on_compared_or_moved(tiny, volume, recipe, rng):
    """L_N then counts everywhere, whatever was drawn: no sample is to be anything but itself."""
    model = build(replace(tiny, ema_guidance=False))
    codes = []
    model.network.register_forward_pre_hook(lambda _, inputs: codes.append(inputs[4]))
    chosen = choose(rng, [50, 60], [True, True])
    epsilon, estimate = predicted(model, volume, chosen, torch.zeros(2, 15))
    with torch.no_grad():
        result = stage1_losses(model, model.network, volume, chosen, recipe)
    assert not any(code.any() for code in codes)
    assert result.observed == []
    assert float(result.losses.ema) == 0
    noise = (chosen.noise - epsilon).square().mean()
    assert float(result.losses.noise) == pytest.approx(float(noise), rel=1e-4)
    assert float(result.losses.gradient) == pytest.approx(anatomy(volume, estimate, (1, 2)), rel=1e-3)


def test_without_gradient_condition_none_is_shown_or_compared(tiny, volume, recipe, rng):
    model = build(replace(tiny, gradient_condition=False))
    shown = []
    model.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[2]))
    with torch.no_grad():
        result = stage1_losses(model, model.network, volume, choose(rng, [50, 60], [True, False]), recipe)
    assert shown[0].shape == SHAPE
    assert not shown[0].any()
    assert float(result.losses.gradient) == 0
    assert float(result.losses.ema) > 0
    assert float(result.losses.total) == pytest.approx(float(result.losses.noise + result.losses.ema))
    assert [one.sequence for one in result.observed] == [1]
