"""Noise, taken out where it is most of what there is: a Wiener filter in small windows.

In a window around a voxel the scan's variance is that of its structures plus that of its noise, which is
known from the white matter. The part that belongs to structures is kept: near edges nearly all, inside a
tissue nearly nothing. What comes out is a local affine function of the scan itself (a guided filter, He et
al. 2013, doi:10.1109/TPAMI.2012.213), so that no structure can appear or move.
"""

import math

import torch
from torch import Tensor

WINDOW = 1.0  # voxels: standard deviation of a window
REACH = 4  # voxels to each side that a window counts
_NORMAL = 0.6745 * 2**0.5  # median of the absolute difference of two normal numbers of deviation 1


@torch.no_grad()
def without_noise(volume: Tensor, mask: Tensor, noise: Tensor, strength: float = 1.0) -> Tensor:
    """Filter the brains of a batch.

    Args:
        volume: (B, 1, H, W, D) intensities.
        mask: boolean, same shape; voxels outside are left alone and do not count.
        noise: (B,) standard deviation of the noise.
        strength: of the noise variance that is taken for granted; 0 changes nothing.
    """
    if strength == 0:
        return volume
    weight = _window(mask.to(volume.dtype)).clamp(min=1e-2)

    def mean(values: Tensor) -> Tensor:
        return _window(torch.where(mask, values, 0.0)) / weight

    centre = mean(volume)
    variance = (mean(volume.square()) - centre.square()).clamp(min=1e-8)
    structure = (variance - strength * noise.square().view(-1, 1, 1, 1, 1)).clamp(min=0.0)
    gain = structure / variance
    # every window that holds a voxel has its say
    return torch.where(mask, mean(gain) * volume + mean((1.0 - gain) * centre), volume)


def noise_level(detail: Tensor) -> Tensor:
    """Standard deviation of the noise (B,) from median differences of neighbours in white matter (B, 3)."""
    return detail.mean(1) / _NORMAL


def _window(volume: Tensor) -> Tensor:
    """Sums of a volume in Gaussian windows, zeros beyond its edge.

    By shifted copies: a convolution of one channel takes four times as long, and in bfloat16, as autocast
    has it, variances would be mostly rounding.
    """
    for axis in (2, 3, 4):
        side, total = volume.shape[axis], volume.clone()
        for shift in range(1, min(REACH + 1, side)):
            weight = math.exp(-0.5 * (shift / WINDOW) ** 2)
            n = side - shift
            total.narrow(axis, 0, n).add_(volume.narrow(axis, shift, n), alpha=weight)
            total.narrow(axis, shift, n).add_(volume.narrow(axis, 0, n), alpha=weight)
        volume = total
    return volume
