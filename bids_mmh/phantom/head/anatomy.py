"""The anatomy of one subject's head: the volume fraction of every tissue in every voxel of the head grid.

Tissues are assigned in layers from the outside of the head to its inside. Each layer takes its share of what
the previous ones have left, so that the fractions of a voxel always sum to one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.head.grid import HEAD, Float, smooth_noise
from bids_mmh.phantom.head.shapes import inside
from bids_mmh.phantom.head.template_head import TemplateHead, cord_centre
from bids_mmh.phantom.imaging.relaxation import Tissue

Shares = Mapping[Tissue, Float | float]


@dataclass(frozen=True)
class Anatomy:
    """Tissues of one head, in template space.

    Attributes:
        voxels: Flat indices on the head grid of the voxels that are not plain air, ``(n,)``.
        fractions: Volume fraction of each tissue, ``(len(Tissue), n)``; columns sum to 1.
        texture: Relative deviation of T1 and T2 from the tissue's value, ``(n,)``, about -0.1 to 0.1.
        labels: Dominant tissue on the head grid, uint8.
        brain: Brain mask on the head grid (brain, ventricles and sulci), uint8.
    """

    voxels: NDArray[np.intp]
    fractions: Float
    texture: Float
    labels: NDArray[np.uint8]
    brain: NDArray[np.uint8]


@dataclass(frozen=True)
class Lesion:
    """A spherical lesion inside the skull.

    Attributes:
        centre: Template x, y, z in mm.
        radius: Radius in mm.
        fluid: Fraction of it that is fluid, 0 to 1 (a cavity); the rest has the signal of grey matter.
    """

    centre: tuple[float, float, float]
    radius: float
    fluid: float


class _Layers:
    """Accumulates tissue fractions from the outermost layer to the innermost one."""

    def __init__(self, n_voxels: int) -> None:
        self.fractions = np.zeros((len(Tissue), n_voxels), np.float32)
        self._left = np.ones(n_voxels, np.float32)

    def add(self, shares: Shares, coverage: Float | float) -> None:
        """Assign ``coverage`` (0 to 1) of what is left of each voxel to a mixture of tissues."""
        taken = self._left * np.float32(coverage)
        for tissue, share in shares.items():
            self.fractions[tissue] += taken * np.float32(share)
        self._left -= taken


def _brain(head: TemplateHead, voxels: NDArray[np.intp], atrophy: float) -> Shares:
    """Tissues inside the skull. The more atrophy, the more of the sulci is fluid."""
    white, deep = head.white.ravel()[voxels], head.deep.ravel()[voxels]
    # The template averages 152 people: its sulci are grey, hence a threshold far above the fluid's 0.27.
    fluid = np.clip((0.53 + 0.04 * atrophy - head.t1.ravel()[voxels]) / 0.14 + 0.5, 0, 1)
    fluid *= fluid * (3 - 2 * fluid)
    x, y, z = _axes(voxels)
    cord = inside(np.maximum(np.hypot(x, y - cord_centre(z)) - 5.5, z + 70), width=2)
    fluid *= 1 - cord
    white = np.maximum(white, cord)
    grey = (1 - fluid) * (1 - white)
    return {
        Tissue.WHITE_MATTER: (1 - fluid) * white,
        Tissue.CORTICAL_GREY_MATTER: grey * (1 - deep),
        Tissue.DEEP_GREY_MATTER: grey * deep,
        Tissue.CSF: fluid,
    }


def _axes(voxels: NDArray[np.intp]) -> tuple[Float, ...]:
    """Template x, y, z of voxels in mm."""
    parts = np.unravel_index(voxels, HEAD.shape)
    return tuple(axis.ravel()[part] for axis, part in zip(HEAD.axes(), parts, strict=True))


@dataclass(frozen=True)
class _Noise:
    """Smooth random fields of one head: over 40, 12 and 5 mm."""

    slow: Float
    fast: Float
    fine: Float


def _lay_skull(layers: _Layers, inner: Float, thickness: Float, noise: _Noise) -> None:
    """Two tables of bone with marrow between them."""
    half = thickness * np.float32(0.5)
    diploe = inside(np.abs(inner - half, dtype=np.float32) - (half - np.float32(1.9)))
    marrow = diploe * np.clip(0.75 + 0.15 * noise.fast, 0, 1)
    layers.add({Tissue.MARROW: marrow, Tissue.BONE: 1 - marrow}, inside(inner - thickness))


def _lay_soft_parts(
    layers: _Layers, organs: Mapping[str, Float], skin: Float, fat: Float, noise: _Noise
) -> None:
    """Eyes, skin, fat, bones and muscles of face, scalp and neck."""
    layers.add({Tissue.AIR: 1}, inside(organs["air"]))
    layers.add({Tissue.VITREOUS: 1}, inside(organs["eyes"]))
    layers.add({Tissue.MUSCLE: 1}, 1 - inside(skin + np.float32(1.8)))
    layers.add({Tissue.FAT: 0.9, Tissue.MUSCLE: 0.1}, 1 - inside(skin + np.float32(1.8) + fat))
    for bone in ("vertebrae", "facial_bones"):
        marrow = inside(organs[bone] + 2) * np.clip(0.7 + 0.3 * noise.fast, 0, 1)
        layers.add({Tissue.MARROW: marrow, Tissue.BONE: 1 - marrow}, inside(organs[bone]))
    layers.add({Tissue.MUSCLE: 1}, inside(organs["masticatory"]))
    layers.add({Tissue.FAT: 1}, inside(organs["orbits"]))
    # Thin sheets of fat separate the muscles: where a random field crosses zero.
    crossing = np.abs(noise.fast + np.float32(0.3) * noise.fine, dtype=np.float32)
    sheets = np.clip(np.float32(1.2) - np.float32(5) * crossing, 0, 1)
    layers.add({Tissue.FAT: sheets, Tissue.MUSCLE: 1 - sheets}, 1.0)


def _lay_lesions(layers: _Layers, lesions: Sequence[Lesion], axes: tuple[Float, ...], inner: Float) -> None:
    for lesion in lesions:
        x, y, z = (axis - np.float32(c) for axis, c in zip(axes, lesion.centre, strict=True))
        distance = np.sqrt(x * x + y * y + z * z)
        shares = {Tissue.CSF: lesion.fluid, Tissue.CORTICAL_GREY_MATTER: 1 - lesion.fluid}
        layers.add(shares, inside(distance - np.float32(lesion.radius), width=2) * inside(inner))


def build_anatomy(
    head: TemplateHead, rng: np.random.Generator, atrophy: float, lesions: Sequence[Lesion] = ()
) -> Anatomy:
    """Build the anatomy of one subject.

    Args:
        head: The template head.
        rng: Random generator of the subject's skull thickness, fat and texture.
        atrophy: -1 (young, narrow sulci) to 1 (old, wide sulci).
        lesions: Lesions that replace the tissue at their place.

    Returns:
        The tissue fractions, labels and brain mask in template space.
    """
    voxels = np.flatnonzero(head.skin < 1)
    organs = {name: distance.ravel()[voxels] for name, distance in vars(head.organs).items()}
    inner, skin = head.inner_skull.ravel()[voxels], head.skin.ravel()[voxels]
    noise = _Noise(*(smooth_noise(rng, HEAD.shape, length).ravel()[voxels] for length in (40, 12, 5)))
    # Below the base of the skull bone is thinner and fat thicker.
    low = inside(_axes(voxels)[2] + 45, width=20)
    bone = (np.float32(6.5 + rng.normal(0, 0.6)) + np.float32(0.7) * noise.slow) * (1 - np.float32(0.4) * low)
    fat = (np.float32(3.2 + rng.normal(0, 0.7)) + np.float32(0.6) * noise.slow) * (1 + low)

    layers = _Layers(voxels.size)
    layers.add({Tissue.AIR: 1}, 1 - inside(skin))
    _lay_lesions(layers, lesions, _axes(voxels), inner)
    layers.add(_brain(head, voxels, atrophy), inside(inner))
    _lay_skull(layers, inner, bone, noise)
    _lay_soft_parts(layers, organs, skin, fat, noise)
    texture = np.array([0.025, 0.015, 0.02], np.float32) @ np.stack([noise.slow, noise.fast, noise.fine])
    return Anatomy(
        voxels=voxels,
        fractions=layers.fractions,
        texture=texture,
        labels=_scatter(voxels, layers.fractions.argmax(axis=0).astype(np.uint8)),
        brain=head.brain.astype(np.uint8),
    )


def _scatter(voxels: NDArray[np.intp], values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = np.zeros(HEAD.shape, values.dtype)
    out.ravel()[voxels] = values
    return out
