"""Deterministic DDIM inversion and sampling (Eqs. 12 to 14).

A predictor is any callable ``(volume, t) -> ε`` with everything else (gradient, sequence, style) bound.
Both directions follow the same path between the clean volume (t = 0) and one depth, so with an unchanged
predictor sampling undoes inversion up to the discretisation error.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from bids_mmh.method.diffusion.schedule import NoiseSchedule

Predictor = Callable[[Tensor, Tensor], Tensor]
Correction = Callable[[Tensor], Tensor]


def timestep_path(depth: int, steps: int) -> list[int]:
    """``steps`` intervals from 0 to ``depth``: strictly increasing timesteps, both ends included.

    Raises:
        ValueError: if there are more steps than timesteps, or none.
    """
    if not 1 <= steps <= depth:
        raise ValueError(f"{steps} steps do not fit between t = 0 and t = {depth}")
    return [round(depth * i / steps) for i in range(steps + 1)]


def ddim_step(
    schedule: NoiseSchedule,
    predict: Predictor,
    volume: Tensor,
    start: int,
    end: int,
    *,
    correct: Correction | None = None,
) -> Tensor:
    """One deterministic step from timestep ``start`` to ``end``, up (Eq. 13) or down (Eqs. 12, 14).

    ε is undefined on a clean volume, so the first step of an inversion asks the network at t = 1. With
    ``correct`` the clean estimate is replaced by what it makes of it, and ε stays: the step then heads for
    the corrected volume.
    """
    batch = volume.shape[0]
    t = torch.full((batch,), start, device=volume.device)
    epsilon = predict(volume, t.clamp(min=1))
    clean = schedule.clean_estimate(volume, epsilon, t)
    if correct is not None:
        clean = correct(clean)
    return schedule.add_noise(clean, epsilon, torch.full_like(t, end))


def _trajectory(
    schedule: NoiseSchedule,
    predict: Predictor,
    volume: Tensor,
    path: list[int],
    correct: Correction | None = None,
) -> Iterator[Tensor]:
    for start, end in pairwise(path):
        volume = ddim_step(schedule, predict, volume, start, end, correct=correct)
        yield volume


def invert(schedule: NoiseSchedule, predict: Predictor, clean: Tensor, *, depth: int, steps: int) -> Tensor:
    """Invert ``clean`` (B, 1, H, W, D) to its latent at timestep ``depth`` in ``steps`` network calls."""
    *_, latent = _trajectory(schedule, predict, clean, timestep_path(depth, steps))
    return latent


def sample(
    schedule: NoiseSchedule,
    predict: Predictor,
    latent: Tensor,
    *,
    depth: int,
    steps: int,
    correct: Correction | None = None,
    tracked: int | None = None,
) -> Tensor:
    """Sample a clean volume from a latent at timestep ``depth`` in ``steps`` network calls.

    ``correct`` maps every step's clean estimate to the one to head for; without it sampling undoes inversion.
    Gradients flow through the last ``tracked`` steps only (through all by default): truncated
    back-propagation.

    Raises:
        ValueError: no such path, or no step to track; ``torch.no_grad`` is the way to track none.
    """
    if tracked is not None and tracked < 1:
        raise ValueError(f"tracked is {tracked} but gradients flow through 1 step at least")
    path = timestep_path(depth, steps)[::-1]
    split = 0 if tracked is None else max(0, steps - tracked)
    if split:
        with torch.no_grad():
            *_, latent = _trajectory(schedule, predict, latent, path[: split + 1], correct)
    *_, clean = _trajectory(schedule, predict, latent, path[split:], correct)
    return clean
