"""The terms of the Stage I objective (Eqs. 3, 5, 10)."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.method.diffusion.gradient import gradient_map, interior
from bids_mmh.method.style.statistics import StyleStatistics, wasserstein
from bids_mmh.method.style.tissue_style import TissueStatistics


def noise_loss(noise: Tensor, epsilon: Tensor, counts: Tensor) -> Tensor:
    """L_N (Eq. 3) per sample: mean squared error of the predicted noise where it counts; (B,).

    Args:
        noise: true ε (B, 1, H, W, D).
        epsilon: predicted ε, same shape.
        counts: boolean, same shape; at least one voxel true in each sample.
    """
    error = torch.where(counts, (noise - epsilon).square(), 0.0)
    return error.flatten(1).sum(1) / counts.flatten(1).sum(1)


def gradient_loss(image: Tensor, estimate: Tensor, mask: Tensor, scales: int = 1) -> Tensor:
    """L_G (Eq. 5) per sample: mean squared difference between G(I) and G of the clean estimate; (B,).

    G is taken inside the brain, at ``scales`` resolutions of which each halves the one before, and the
    differences are averaged. At full resolution alone, a slow field of brightness costs next to nothing,
    and it is the easiest way for a network to satisfy L_E (docs/method.md).

    Args:
        image: the scan I (B, 1, H, W, D).
        estimate: clean estimate, same shape.
        mask: boolean brain mask, same shape.
        scales: number of resolutions; those at which no brain is left to compare do not count.
    """
    total, count = image.new_zeros(len(image)), 0
    for scale in range(scales):
        if scale:
            image, estimate, mask = _halved(image, estimate, mask)
        inside = interior(mask).flatten(1)
        if not inside.any(1).all():
            break
        error = (gradient_map(image, mask) - gradient_map(estimate, mask)).square().flatten(1)
        total = total + error.sum(1) / inside.sum(1)
        count += 1
    return total / max(count, 1)


def _halved(image: Tensor, estimate: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means over the brain voxels of cells of 2×2×2; a cell is brain if at least half of it is."""
    if min(mask.shape[2:]) < 2:
        return image, estimate, torch.zeros_like(mask)
    weight = F.avg_pool3d(mask.to(image.dtype), 2)
    coarse_image, coarse_estimate = (
        F.avg_pool3d(torch.where(mask, v, 0.0), 2) / weight.clamp(min=0.125) for v in (image, estimate)
    )
    return coarse_image, coarse_estimate, weight >= 0.5


def ema_loss(record: StyleStatistics, style: StyleStatistics) -> Tensor:
    """L_E (Eq. 10) per sample: distance of an estimate's style from the record of its sequence; (B,)."""
    distance = wasserstein(record.histogram, style.histogram)
    return distance + (record.mean - style.mean).square() + (record.std - style.std).square()


def tissue_loss(record: TissueStatistics, estimate: Tensor, tissues: Tensor) -> Tensor:
    """L_E by tissue, per sample: squared distance of an estimate's tissue means from the medians; (B,).

    Means instead of medians, for their gradients; over pure voxels the two are close.

    Args:
        record: style to be in.
        estimate: clean estimate (B, 1, H, W, D).
        tissues: tissue maps of the scan (B, 4, H, W, D).
    """
    pure = torch.where(tissues > 0.8, tissues, 0.0).flatten(2)
    count = pure.sum(2)
    means = (pure * estimate.flatten(2)).sum(2) / count.clamp(min=1.0)
    return torch.where(count > 0, (means - record.median).square(), 0.0).mean(1)


def reliability(t: Tensor, threshold: int) -> Tensor:
    """Weight in [0, 1] of a clean estimate at timestep t (B,): 1 at t = 0, fading linearly to 0 past τ."""
    return ((threshold + 1 - t).clamp(min=0) / (threshold + 1)).to(torch.float32)
