"""The terms of the Stage I objective (Eqs. 3, 5, 10)."""

import torch
from torch import Tensor

from bids_mmh.method.gradient import gradient_map
from bids_mmh.method.style import StyleStatistics, wasserstein


def noise_loss(noise: Tensor, epsilon: Tensor, counts: Tensor) -> Tensor:
    """L_N (Eq. 3) per sample: mean squared error of the predicted noise where it counts; (B,).

    Args:
        noise: true ε (B, 1, H, W, D).
        epsilon: predicted ε, same shape.
        counts: boolean, same shape; at least one voxel true in each sample.
    """
    error = torch.where(counts, (noise - epsilon).square(), 0.0)
    return error.flatten(1).sum(1) / counts.flatten(1).sum(1)


def gradient_loss(gradient: Tensor, estimate: Tensor) -> Tensor:
    """L_G (Eq. 5) per sample: mean squared difference between G(I) and G of the clean estimate; (B,)."""
    return (gradient - gradient_map(estimate)).square().flatten(1).mean(1)


def ema_loss(record: StyleStatistics, style: StyleStatistics) -> Tensor:
    """L_E (Eq. 10) per sample: distance of an estimate's style from the record of its sequence; (B,)."""
    distance = wasserstein(record.histogram, style.histogram)
    return distance + (record.mean - style.mean).square() + (record.std - style.std).square()


def reliability(t: Tensor, threshold: int) -> Tensor:
    """Weight in [0, 1] of a clean estimate at timestep t (B,): 1 at t = 0, fading linearly to 0 past τ."""
    return ((threshold + 1 - t).clamp(min=0) / (threshold + 1)).to(torch.float32)
