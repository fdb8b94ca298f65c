import math
from itertools import pairwise

import pytest
import torch

from bids_mmh.method.diffusion.sampling import ddim_step, invert, sample, timestep_path
from bids_mmh.method.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule()
DEPTH = 200


def gaussian_predictor(mean, deviation):
    """The best possible ε where the data are N(mean, deviation²)."""

    def predict(volume, t):
        signal, sigma = SCHEDULE.signal_and_noise(t, volume)
        return sigma * (volume - signal * mean) / (signal**2 * deviation**2 + sigma**2)

    return predict


@pytest.fixture
def clean(rng):
    return 0.3 + 0.5 * torch.randn(1, 1, 3, 3, 3, generator=rng, dtype=torch.float64)


def round_trip_error(clean, steps):
    predict = gaussian_predictor(0.3, 0.5)
    latent = invert(SCHEDULE, predict, clean, depth=DEPTH, steps=steps)
    return float((sample(SCHEDULE, predict, latent, depth=DEPTH, steps=steps) - clean).abs().max())


def test_path_of_35_steps_to_100():
    path = timestep_path(100, 35)
    assert path[:4] == [0, 3, 6, 9]
    assert (path[-1], len(path)) == (100, 36)


def test_paths_always_climb():
    for depth in range(1, 30):
        for steps in range(1, depth + 1):
            path = timestep_path(depth, steps)
            assert (path[0], path[-1], len(path)) == (0, depth, steps + 1)
            assert all(later > earlier for earlier, later in pairwise(path))


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_impossible_paths(steps):
    with pytest.raises(ValueError, match="do not fit between t = 0 and t = 10"):
        timestep_path(10, steps)


def test_one_step_is_equation_12(clean, rng):
    epsilon = torch.randn(clean.shape, generator=rng, dtype=torch.float64)
    ours = ddim_step(SCHEDULE, lambda volume, t: epsilon, clean, 80, 60)
    before, after = SCHEDULE.alpha_bar[80].item(), SCHEDULE.alpha_bar[60].item()
    estimate = (clean - math.sqrt(1 - before) * epsilon) / math.sqrt(before)
    torch.testing.assert_close(ours, math.sqrt(after) * estimate + math.sqrt(1 - after) * epsilon)


def test_round_trip_is_exact_for_a_constant_prediction(clean, rng):
    epsilon = torch.randn(clean.shape, generator=rng, dtype=torch.float64)
    latent = invert(SCHEDULE, lambda *_: epsilon, clean, depth=DEPTH, steps=7)
    torch.testing.assert_close(latent, SCHEDULE.add_noise(clean, epsilon, torch.tensor([DEPTH])))
    back = sample(SCHEDULE, lambda *_: epsilon, latent, depth=DEPTH, steps=3)
    torch.testing.assert_close(back, clean, atol=1e-12, rtol=0)


def test_round_trip_error_shrinks_with_the_steps(clean):
    errors = [round_trip_error(clean, steps) for steps in (5, 20, 80)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.03


def test_inversion_reaches_the_latent_of_the_exact_flow(clean):
    """Between Gaussians the flow is linear: a standard score at t = 0 is one at every t."""
    latent = invert(SCHEDULE, gaussian_predictor(0.3, 0.5), clean, depth=DEPTH, steps=DEPTH)
    alpha_bar = SCHEDULE.alpha_bar[DEPTH]
    deviation = (alpha_bar * 0.5**2 + 1 - alpha_bar).sqrt()
    exact = alpha_bar.sqrt() * 0.3 + deviation * (clean - 0.3) / 0.5
    torch.testing.assert_close(latent, exact, atol=0.02, rtol=0)


def test_another_style_on_the_way_down_moves_the_result(clean):
    own, target = gaussian_predictor(0.3, 0.5), gaussian_predictor(-0.2, 0.4)
    latent = invert(SCHEDULE, own, clean, depth=DEPTH, steps=DEPTH)
    moved = sample(SCHEDULE, target, latent, depth=DEPTH, steps=DEPTH)
    alpha_bar = SCHEDULE.alpha_bar[DEPTH]
    widths = [(alpha_bar * d**2 + 1 - alpha_bar).sqrt() for d in (0.5, 0.4)]
    at_depth = alpha_bar.sqrt() * 0.3 + widths[0] * (clean - 0.3) / 0.5
    exact = -0.2 + 0.4 * (at_depth - alpha_bar.sqrt() * -0.2) / widths[1]
    torch.testing.assert_close(moved, exact, atol=0.03, rtol=0)
    assert (moved - clean).abs().mean() > 0.1


def test_the_predictor_gets_the_true_timestep(clean):
    timesteps = []

    def predict(volume, t):
        timesteps.append(int(t))
        return torch.zeros_like(volume)

    invert(SCHEDULE, predict, clean, depth=40, steps=4)
    sample(SCHEDULE, predict, clean, depth=40, steps=2)
    assert timesteps == [1, 10, 20, 30, 40, 20]


@pytest.fixture
def weight():
    return torch.tensor(0.3, dtype=torch.float64, requires_grad=True)


def listening(weight, calls):
    """A predictor with one parameter that notes at every call whether a graph is being built."""

    def predict(volume, t):
        calls.append((int(t), torch.is_grad_enabled()))
        return weight * volume * (1 + t.double() / DEPTH)

    return predict


def tracked_gradient(weight, clean, tracked, calls):
    weight.grad = None
    result = sample(SCHEDULE, listening(weight, calls), clean, depth=DEPTH, steps=5, tracked=tracked)
    result.square().sum().backward()
    return result.detach(), weight.grad.clone()


@pytest.mark.parametrize("tracked", [1, 2, 4])
def test_only_the_last_steps_are_tracked(weight, clean, tracked):
    calls = []
    value, gradient = tracked_gradient(weight, clean, tracked, calls)
    assert [t for t, _ in calls] == [200, 160, 120, 80, 40]
    assert [graph for _, graph in calls] == [False] * (5 - tracked) + [True] * tracked
    full_value, full_gradient = tracked_gradient(weight, clean, None, [])
    assert torch.equal(value, full_value)
    assert not torch.allclose(gradient, full_gradient, rtol=0.01)


def test_truncated_gradient_is_that_of_the_last_step_from_a_constant(weight, clean):
    """One step by Eq. 12, from where the untracked steps have come to."""
    _, gradient = tracked_gradient(weight, clean, 1, [])
    predict = listening(weight, [])
    volume = clean
    for start, end in pairwise([200, 160, 120, 80, 40]):
        volume = ddim_step(SCHEDULE, predict, volume, start, end).detach()
    weight.grad = None
    ddim_step(SCHEDULE, predict, volume, 40, 0).square().sum().backward()
    torch.testing.assert_close(gradient, weight.grad)


@pytest.mark.parametrize("tracked", [5, 6])
def test_tracking_all_steps_is_the_default(weight, clean, tracked):
    value, gradient = tracked_gradient(weight, clean, tracked, [])
    full_value, full_gradient = tracked_gradient(weight, clean, None, [])
    assert torch.equal(value, full_value)
    assert torch.equal(gradient, full_gradient)


@pytest.mark.parametrize("tracked", [0, -1])
def test_no_step_to_track(weight, clean, tracked):
    with pytest.raises(ValueError, match=f"tracked is {tracked} but gradients flow through 1 step at least"):
        tracked_gradient(weight, clean, tracked, [])


@pytest.mark.parametrize("steps", [0, DEPTH + 1])
def test_walks_of_impossible_steps(clean, steps):
    for direction in (invert, sample):
        with pytest.raises(ValueError, match=f"{steps} steps do not fit between t = 0 and t = {DEPTH}"):
            direction(SCHEDULE, lambda *_: clean, clean, depth=DEPTH, steps=steps)


def test_every_clean_estimate_is_corrected(clean):
    """The last one, at t = 0, is the result; ε stays, so each step heads for the corrected volume."""
    seen = []

    def correct(estimate):
        seen.append(estimate)
        return estimate + 0.5

    epsilon = torch.ones_like(clean)
    result = sample(SCHEDULE, lambda *_: epsilon, clean, depth=DEPTH, steps=4, correct=correct, tracked=2)
    assert len(seen) == 4
    first = SCHEDULE.clean_estimate(clean, epsilon, torch.tensor([DEPTH]))
    for step, estimate in enumerate(seen):
        torch.testing.assert_close(estimate, first + 0.5 * step)
    torch.testing.assert_close(result, first + 2.0)
