"""Random changes of a training volume: anatomy by default, style only where a recipe asks for it."""

import numpy as np
import torch
from numpy.polynomial import legendre
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation
from torch import Tensor

from bids_mmh.method.padding import BACKGROUND
from bids_mmh.training.data.scans import DARKEST
from bids_mmh.training.recipe import Augmentation


def augment(image: Tensor, settings: Augmentation, seed: int) -> Tensor:
    """Change a volume at random; ``seed`` decides how.

    Args:
        image: (H, W, D) on the grid, left-right first, brain above the background of −1 (so the image is its
            own mask, and both move together).
        settings: what may change, and how much.
        seed: of all draws; each kind of change draws the same whichever others are on.
    """
    draws = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(6)]
    if settings.flip and draws[0].random() < 0.5:
        image = image.flip(0)
    if settings.rotate or settings.scale:
        image = _affine(image, settings, draws[1])
    if settings.shift:
        image = _shift(image, settings.shift, draws[2])
    if settings.bias:
        image = _bias(image, settings.bias, draws[3])
    if settings.gamma:
        image = _gamma(image, float(np.exp(draws[4].uniform(-settings.gamma, settings.gamma))))
    if settings.noise:
        image = _noise(image, settings.noise, draws[5])
    return image


def _shift(image: Tensor, largest: int, draws: np.random.Generator) -> Tensor:
    """Move by whole voxels, as far as the brain stays inside: nothing is lost or interpolated."""
    steps = []
    for places, side in zip((image > BACKGROUND).nonzero().unbind(1), image.shape, strict=True):
        down, up = min(largest, int(places.min())), min(largest, side - 1 - int(places.max()))
        steps.append(int(draws.integers(-down, up + 1)))
    return image.roll(steps, dims=(0, 1, 2))


def _affine(image: Tensor, settings: Augmentation, draws: np.random.Generator) -> Tensor:
    """Rotate and scale about the centre; the brain's edge is not mixed with background."""
    angles = draws.uniform(-settings.rotate, settings.rotate, 3)
    scales = 1.0 + draws.uniform(-settings.scale, settings.scale, 3)
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() / scales  # from new voxels to old
    centre = (np.array(image.shape) - 1) / 2
    inside = image > BACKGROUND
    moved, weight = (
        torch.from_numpy(affine_transform(v.numpy(), matrix, centre - matrix @ centre, order=1))
        for v in (torch.where(inside, image, 0.0), inside.float())
    )
    return _brain(moved / weight.clamp(min=1e-6), weight > 0.5)


def _bias(image: Tensor, largest: float, draws: np.random.Generator) -> Tensor:
    """Multiply intensities, counted from black, by the exponential of a cubic polynomial of the place."""
    degrees = np.indices((4, 4, 4)).sum(0)
    coefficients = np.where(degrees <= 3, draws.uniform(-largest, largest, (4, 4, 4)), 0.0)
    x, y, z = (np.linspace(-1.0, 1.0, side) for side in image.shape)
    field = torch.from_numpy(np.exp(legendre.leggrid3d(x, y, z, coefficients))).float()
    return _brain(_from_black(image) * field + BACKGROUND, image > BACKGROUND)


def _gamma(image: Tensor, exponent: float) -> Tensor:
    """Raise intensities to a power that leaves −1 and 1 where they are."""
    return _brain(2.0 * (_from_black(image) / 2.0) ** exponent + BACKGROUND, image > BACKGROUND)


def _noise(image: Tensor, largest: float, draws: np.random.Generator) -> Tensor:
    """Add Gaussian noise."""
    noise = draws.standard_normal(tuple(image.shape), dtype=np.float32)
    return _brain(image + draws.uniform(0, largest) * torch.from_numpy(noise), image > BACKGROUND)


def _from_black(image: Tensor) -> Tensor:
    return (image - BACKGROUND).clamp(min=0.0)


def _brain(values: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, values.clamp(min=DARKEST), BACKGROUND).float()
