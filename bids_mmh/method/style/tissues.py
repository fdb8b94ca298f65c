"""Soft tissue maps of a brain, from its intensities and prior maps alone.

A Gaussian mixture fitted by expectation-maximisation with prior maps, after Ashburner & Friston 2005
(doi:10.1016/j.neuroimage.2005.02.018). The priors tell the classes apart, so it does not matter whether
fluid is dark (T1w) or bright (T2w). The classes share one variance: many fluid voxels hold grey matter too,
and a variance of fluid's own would grow with the contrast of the scanner.
"""

import json
from enum import IntEnum
from functools import cache
from importlib.resources import files

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Tissue(IntEnum):
    """Channels of tissue maps and columns of tissue statistics."""

    FLUID = 0
    CORTICAL_GREY = 1
    DEEP_GREY = 2
    WHITE = 3


VOXELS = 150_000  # a regular subsample is enough for four means and a variance
STEPS = 40
TOLERANCE = 1e-4  # change of the means in units of the brain's standard deviation
LEAST_VARIANCE = 1e-3  # of the brain's variance: for images without noise


@cache
def default_priors() -> Tensor:
    """Prior maps that ship with the package, (4, 36, 46, 46) uint8 over the model's box.

    The first three are the ICBM 2009a maps of nilearn, blurred; deep grey matter is the mean of nine label
    maps (``benchmarks/tissue_priors.py``).
    """
    content = files("bids_mmh.resources").joinpath("tissue_priors.safetensors").read_bytes()
    # a length, JSON and bytes: read here, so that the generator and the networks need nothing but PyTorch
    start = 8 + int.from_bytes(content[:8], "little")
    described = json.loads(content[8:start])["priors"]
    values = np.frombuffer(content, dtype=np.uint8, offset=start).reshape(described["shape"])
    return torch.from_numpy(values.copy())


def priors_on_grid(priors: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Coarse prior maps (1, K, h, w, d) of the model's box on a grid of it; (1, K, *shape), sum 1."""
    fine = F.interpolate(priors.float(), size=tuple(shape), mode="trilinear", align_corners=False)
    fine = fine.clamp(min=1e-4)
    return fine / fine.sum(1, keepdim=True)


@torch.no_grad()
def tissue_maps(volume: Tensor, mask: Tensor, priors: Tensor) -> Tensor:
    """Probability of each tissue in each voxel.

    Args:
        volume: (B, 1, H, W, D) intensities, in any unit; a linear map of them changes nothing.
        mask: boolean brain masks, same shape.
        priors: (1, K, H, W, D) prior probabilities, sum 1.

    Returns:
        (B, K, H, W, D) float32, 0 outside the masks.
    """
    out = volume.new_zeros((len(volume), priors.shape[1], *volume.shape[2:]), dtype=torch.float32)
    for scan, inside, maps in zip(volume[:, 0], mask[:, 0], out, strict=True):
        values, weights = scan[inside].float(), priors[0][:, inside]
        values = (values - values.mean()) / values.std().clamp(min=1e-6)
        step = max(1, len(values) // VOXELS)
        mean, variance = _fit(values[::step], weights[:, ::step])
        maps[:, inside] = _shares(values, weights, mean, variance)
    return out


def _fit(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Means (K, 1) and the shared variance, by expectation-maximisation from the priors alone."""
    mean, variance = _moments(values, weights)
    for _ in range(STEPS):
        before = mean
        mean, variance = _moments(values, _shares(values, weights, mean, variance))
        if bool((mean - before).abs().max() < TOLERANCE):
            break
    return mean, variance


def _moments(values: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    total = shares.sum(1, keepdim=True)
    mean = (shares * values).sum(1, keepdim=True) / total
    variance = (shares * (values - mean).square()).sum(1, keepdim=True) / total
    return mean, variance.mean().clamp(min=LEAST_VARIANCE)


def _shares(values: Tensor, weights: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    # in logarithms: voxels far from all classes (vessels) would divide by zero
    return (weights.log() - 0.5 * (values - mean).square() / variance).softmax(0)
