"""Noise, taken out by non-local means: a voxel becomes the mean of those near it whose patches are alike.

Patches are alike if they differ by no more than noise alone would make them differ (Buades et
al. 2005, doi:10.1109/CVPR.2005.38; in 3D, Coupé et al. 2008, doi:10.1109/TMI.2007.906087). The level of the
noise is known from the white matter. Along a border there are such voxels, across it there are none: noise
goes there as well, which a filter in windows has to leave.
"""

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

REACH = 5
"""Square of the largest distance in voxels to what a voxel is compared with: 56 others."""
SIDE_WEIGHT = 0.6
"""Of the neighbours along an axis in a patch of 3 voxels a side; the middle one has 1."""
SOFTNESS = 1.2
"""In standard deviations of the noise; with more, contrasts of its size would go."""
CHUNK = 2**18
"""Voxels that are compared at once: they stay in a processor's cache."""
_NORMAL = 0.6745 * 2**0.5  # median of the absolute difference of two normal numbers of deviation 1
_LEAST = 1e-8  # variance of the noise


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
    variance = (strength * noise.square()).clamp(min=_LEAST).view(-1, 1)
    # In one line a step along an axis is a step of so many places: the margin keeps rows apart, and slices.
    margin = math.isqrt(REACH) + 1  # of a patch
    padded = [F.pad(one, (1, margin) * 3) for one in (torch.where(mask, volume, 0.0), mask.to(volume.dtype))]
    shape = padded[0].shape[2:]
    values, inside = (one.flatten(1) for one in padded)
    total, weight = values.clone(), inside.clone()
    for first, step in _pairs(shape, values.shape[1]):
        alike = _likeness(values, first, step, shape, variance)
        one, other = first, slice(first.start + step, first.stop + step)
        alike.mul_(inside[:, one]).mul_(inside[:, other])
        total[:, one].addcmul_(alike, values[:, other])
        total[:, other].addcmul_(alike, values[:, one])
        weight[:, one].add_(alike)
        weight[:, other].add_(alike)
    mean = (total / weight.clamp(min=1.0)).view_as(padded[0])
    return torch.where(mask, mean[..., 1:-margin, 1:-margin, 1:-margin], volume)


def noise_level(detail: Tensor) -> Tensor:
    """Standard deviation of the noise (B,) from median differences of neighbours in white matter (B, 3)."""
    return detail.mean(1) / _NORMAL


def _pairs(shape: torch.Size, count: int) -> Iterator[tuple[slice, int]]:
    """Every pair of voxels once: a range of places in a line of ``count``, and the step to their partners."""
    reach = range(-math.isqrt(REACH), math.isqrt(REACH) + 1)
    for offset in itertools.product(reach, repeat=3):
        if offset > (0, 0, 0) and sum(along**2 for along in offset) <= REACH:
            step = sum(along * stride for along, stride in zip(offset, _strides(shape), strict=True))
            for start in range(0, count - step, CHUNK):
                yield slice(start, min(start + CHUNK, count - step)), step


def _strides(shape: torch.Size) -> tuple[int, int, int]:
    return shape[1] * shape[2], shape[2], 1


def _likeness(values: Tensor, places: slice, step: int, shape: torch.Size, variance: Tensor) -> Tensor:
    """How alike the patches of voxels and of their partners are: 1 where noise explains the difference."""
    strides = _strides(shape)
    start = max(0, places.start - sum(strides))
    stop = min(values.shape[1] - step, places.stop + sum(strides))
    apart = (values[:, start + step : stop + step] - values[:, start:stop]).square_()
    for stride in strides:
        around = apart.clone()
        around[:, stride:].add_(apart[:, :-stride], alpha=SIDE_WEIGHT)
        around[:, :-stride].add_(apart[:, stride:], alpha=SIDE_WEIGHT)
        apart = around
    apart = apart[:, places.start - start : places.stop - start].div((1 + 2 * SIDE_WEIGHT) ** 3)
    beyond = apart.sub_(2 * variance).clamp_(min=0.0)
    return beyond.div_(-(SOFTNESS**2) * variance).exp_()
