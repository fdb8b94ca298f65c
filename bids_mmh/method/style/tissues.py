"""Soft tissue maps of a brain and its slow gain, from its intensities and prior maps alone.

A Gaussian mixture fitted by expectation-maximisation with prior maps, after Ashburner & Friston 2005
(doi:10.1016/j.neuroimage.2005.02.018). The priors separate the classes, so it does not matter whether fluid
is dark (T1w) or bright (T2w). The classes share one variance: many fluid voxels hold grey matter too, and a
variance of fluid's own would grow with the contrast of the scanner. As there, a slow gain is part of the
mixture: what a bias correction left would otherwise be taken for tissue. It grows in steps, each the local
ratio of signal and expected signal (Wells et al. 1996, doi:10.1109/42.511747) in a wide window: what one
tissue does in one place is no gain. Many steps of a wide window follow a field to the edge of the brain,
where one step would be half of it; how many there are sets how fine the gain may be.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bids_mmh.method.linear import enlarged
from bids_mmh.method.style.slow_fields import BOX, on_grid, windowed


class Tissue(IntEnum):
    """Channels of tissue maps and columns of tissue statistics."""

    FLUID = 0
    CORTICAL_GREY = 1
    DEEP_GREY = 2
    WHITE = 3


SAMPLED = 36  # voxels along the first axis (4 mm): a regular subsample is enough for means and a slow field
STEPS = 40
TOLERANCE = 1e-4  # change of the means in units of the brain's standard deviation
LEAST_VARIANCE = 1e-3  # of the brain's variance: for images without noise
TAILS = 0.01  # share of the brain that is darker, and brighter, than the range of its intensities
ZERO = 0.22  # of that range below it: where a scan has no signal, so that a gain multiplies what is above
FIELD_STEPS = 80
WINDOW = 6.0  # cells of 8 mm: standard deviation of the Gaussian window of one step
SCARCE = 0.005  # share of a window that the brain fills: of less, a step is mostly 1
PRIOR = 0.02  # of what a gain departs from 1, a step goes back
FARTHEST = 2.5  # standard deviations: a voxel further from its tissue (lesion, vessel) counts as this far


@cache
def default_priors() -> Tensor:
    """Prior maps that ship with the package, (4, 36, 46, 46) uint8 over the model's box.

    The first three are the ICBM 2009a maps of nilearn, blurred; deep grey matter is the mean of nine label
    maps (``benchmarks/data/tissue_priors.py``).
    """
    content = files("bids_mmh.resources").joinpath("tissue_priors.safetensors").read_bytes()
    # a length, JSON and bytes: read here, so that the generator and the networks need nothing but PyTorch
    start = 8 + int.from_bytes(content[:8], "little")
    described = json.loads(content[8:start])["priors"]
    values = np.frombuffer(content, dtype=np.uint8, offset=start).reshape(described["shape"])
    return torch.from_numpy(values.copy())


def priors_on_grid(priors: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Coarse prior maps (1, K, h, w, d) of the model's box on a grid of it; (1, K, *shape), sum 1."""
    fine = enlarged(priors.float(), shape).clamp(min=1e-4)
    return fine / fine.sum(1, keepdim=True)


@lru_cache(maxsize=2)
def default_priors_on(shape: tuple[int, ...]) -> Tensor:
    """The prior maps that ship with the package, on a grid of the model's box; (1, 4, *shape), sum 1."""
    return priors_on_grid(default_priors()[None], shape)


@dataclass(frozen=True)
class Segmentation:
    """What a mixture says about a batch of scans.

    Attributes:
        maps: (B, 4, H, W, D) probability of each :class:`Tissue`, 0 outside the masks.
        gain: (B, 1, *BOX) slow gain of each scan, mean 1 over its brain.
        zero: (B,) intensity without signal, in the units of the scans: gains multiply what is above.
    """

    maps: Tensor
    gain: Tensor
    zero: Tensor

    @property
    def even(self) -> "Segmentation":
        """The same tissues of images that have no gain, such as :meth:`without_gain`."""
        return replace(self, gain=torch.ones_like(self.gain))

    def without_gain(self, volume: Tensor) -> Tensor:
        """Divide the scans that were segmented, (B, 1, H, W, D), by their gain."""
        zero = self.zero.view(-1, 1, 1, 1, 1)
        return zero + (volume - zero) / on_grid(self.gain, volume.shape[2:])

    def map(self, change: Callable[[Tensor], Tensor]) -> "Segmentation":
        """The same with every tensor changed by ``change``: moved, indexed."""
        return Segmentation(change(self.maps), change(self.gain), change(self.zero))


@torch.no_grad()
def segment(volume: Tensor, mask: Tensor, priors: Tensor) -> Segmentation:
    """Find the tissues and the slow gain of a batch of scans.

    Args:
        volume: (B, 1, H, W, D) intensities over the model's box, in any unit: a linear map of them that keeps
            bright bright changes nothing.
        mask: boolean brain masks, same shape.
        priors: (1, K, H, W, D) prior probabilities, sum 1.
    """
    maps = volume.new_zeros((len(volume), priors.shape[1], *volume.shape[2:]), dtype=torch.float32)
    gains, zeros = [], []
    for scan, inside, found in zip(volume[:, 0].float(), mask[:, 0], maps, strict=True):
        zero = _no_signal(scan[inside])
        signal = (scan - zero) / scan[inside].std().clamp(min=1e-6)
        step = max(1, round(scan.shape[0] / SAMPLED))
        coarse, part, weights = (x[..., ::step, ::step, ::step] for x in (signal, inside, priors[0]))
        mixture, gain = _fit(coarse, part, weights)
        found[:, inside] = mixture.shares(signal[inside], _inside(gain, inside), priors[0][:, inside])
        gains.append(gain)
        zeros.append(zero)
    return Segmentation(maps, torch.cat(gains), torch.stack(zeros))


class _Mixture(NamedTuple):
    """Signal of each tissue where the gain is 1, (K, 1), and the variance that they share."""

    mean: Tensor
    variance: Tensor

    def shares(self, signal: Tensor, gain: Tensor, priors: Tensor) -> Tensor:
        """Posterior probabilities (K, N) of voxels with signals and gains (N,) and priors (K, N)."""
        # in logarithms: voxels far from all tissues (vessels) would divide by zero
        return (priors.log() - 0.5 * (signal - gain * self.mean).square() / self.variance).softmax(0)


def _no_signal(values: Tensor) -> Tensor:
    """Intensity without signal of the voxels (N,) of a brain: some way below the darkest of them."""
    n = len(values)
    last = round(TAILS * (n - 1))
    low, high = (values.kthvalue(k + 1).values for k in (last, n - 1 - last))
    return low - ZERO * (high - low)


def _fit(signal: Tensor, inside: Tensor, priors: Tensor) -> tuple[_Mixture, Tensor]:
    """Expectation-maximisation from the priors alone, first with gain 1 everywhere, then with a slow gain.

    Args:
        signal: (h, w, d).
        inside: boolean, same shape.
        priors: (K, h, w, d).

    Returns:
        The mixture and the gain, (1, 1, *BOX).
    """
    values, weights = signal[inside], priors[:, inside]
    local = torch.ones_like(values)
    mixture = _moments(values, local, weights)
    for _ in range(STEPS):
        before = mixture.mean
        mixture = _moments(values, local, mixture.shares(values, local, weights))
        if bool((mixture.mean - before).abs().max() < TOLERANCE):
            break
    gain = signal.new_ones((1, 1, *BOX))
    for _ in range(FIELD_STEPS):
        shares = mixture.shares(values, local, weights)
        gain = gain * _gain_step(values, gain, inside, shares, mixture)
        local = _inside(gain, inside)
        gain, local = gain / local.mean(), local / local.mean()
        mixture = _moments(values, local, mixture.shares(values, local, weights))
    return mixture, gain


def _moments(signal: Tensor, gain: Tensor, shares: Tensor) -> _Mixture:
    """Weighted least squares of signal = gain · mean for each tissue, and the variance of what is left."""
    total = shares.sum(1, keepdim=True)
    mean = (shares * gain * signal).sum(1, keepdim=True) / (shares * gain.square()).sum(1, keepdim=True)
    variance = (shares * (signal - gain * mean).square()).sum(1, keepdim=True) / total
    return _Mixture(mean, variance.mean().clamp(min=LEAST_VARIANCE))


def _inside(gain: Tensor, inside: Tensor) -> Tensor:
    """A gain (1, 1, *BOX) in the voxels (N,) of a mask."""
    return on_grid(gain, inside.shape)[0, 0][inside]


def _gain_step(signal: Tensor, gain: Tensor, inside: Tensor, shares: Tensor, mixture: _Mixture) -> Tensor:
    """Factor on a gain: least squares of signal = factor · gain · mean around each cell, shrunk to 1.

    Args:
        signal: (N,) of the voxels inside.
        gain: (1, 1, *BOX) so far.
        inside: (h, w, d).
        shares: (K, N) of the tissues.
        mixture: where the gain is 1.
    """
    weight = shares.square()  # pure voxels count most
    reach = FARTHEST * mixture.variance.sqrt()
    expected = _inside(gain, inside) * mixture.mean
    deviation = (signal - expected).clamp(-reach, reach)
    parts = signal.new_zeros((1, 2, *inside.shape))
    parts[0, 0, inside] = (weight * expected * deviation).sum(0)
    parts[0, 1, inside] = (weight * expected.square()).sum(0)
    product, square = windowed(parts, WINDOW).split(1, dim=1)
    return 1 + (product - PRIOR * square * (gain - 1)) / (square + SCARCE * mixture.mean.max().square())
