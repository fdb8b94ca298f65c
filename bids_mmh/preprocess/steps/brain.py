"""Brain masks: their volume, and the edge of scans that were skull-stripped before."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.images import image_like, to_array

if TYPE_CHECKING:
    import SimpleITK

# Brains of adults and children, with a margin for atrophy at one end and for large heads at the other.
PLAUSIBLE_ML = (500.0, 2500.0)
# In a stripped volume all that is not background is brain; a head has more than twice its volume.
STRIPPED_RATIO = 1.35
MIN_CONSTANT_FRACTION = 0.2
RESIDUE_MM = 5.0
# At most 2.3 ml of five stripped scans of two sites lie this far outside a program's mask; 11 ml of one that
# kept a strip in front of the brain stem.
OUTSIDE_MM, MAX_OUTSIDE_ML = 2.0, 5.0

CEREBELLUM_MM2 = 1200.0
"""Cross-section that the brain has from the cerebellum upwards, and the medulla and the cord do not."""
STEM_MM = 8.0
"""How far the masks of common programs and of the template go on below the lowest such cross-section."""


@dataclass(frozen=True)
class FoundBrain:
    """What a program for brain extraction found.

    Attributes:
        mask: uint8 mask on the scan's voxels.
        program: Name of the program in reports and sidecars.
        warnings: Sentences on what the user should check.
    """

    mask: "SimpleITK.Image"
    program: str
    warnings: tuple[str, ...] = ()


def volume_ml(mask: "SimpleITK.Image") -> float:
    """Compute the volume of a mask.

    Args:
        mask: Non-zero inside.

    Returns:
        The volume in ml.

    Examples:
        >>> from bids_mmh.preprocess.images import to_sitk
        >>> volume_ml(to_sitk(np.ones((10, 10, 10), np.uint8), np.diag([2.0, 2.0, 2.0, 1.0])))
        8.0
    """
    return float((to_array(mask) > 0).sum() * np.prod(mask.GetSpacing()) / 1000)


def plausible(mask: "SimpleITK.Image", program: str) -> "SimpleITK.Image":
    """Check the volume of a mask that a program found.

    Args:
        mask: uint8 mask.
        program: Name of the program, for the message.

    Returns:
        The mask.

    Raises:
        BadDataError: If it holds less than 500 ml or more than 2500 ml.
    """
    if not PLAUSIBLE_ML[0] <= volume_ml(mask) <= PLAUSIBLE_ML[1]:
        raise BadDataError(
            f"The brain that {program} found measures {volume_ml(mask):.0f} ml, which cannot be right: check "
            "the image."
        )
    return mask


def largest_component(inside: np.ndarray) -> np.ndarray:
    """Keep the largest connected component of a volume and fill its holes.

    Args:
        inside: Boolean volume.

    Returns:
        uint8 volume of the same shape; empty if ``inside`` is.

    Examples:
        >>> largest_component(np.array([[[True, True, False, True]]])).tolist()
        [[[1, 1, 0, 0]]]
    """
    from scipy import ndimage

    labels, count = ndimage.label(inside)
    if count == 0:
        return inside.astype(np.uint8)
    largest = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    return ndimage.binary_fill_holes(largest).astype(np.uint8)


def without_cord(mask: "SimpleITK.Image") -> "SimpleITK.Image":
    """End a brain mask where those of common programs end.

    The label maps that the brain mask network has learnt from go on down the cord.

    Args:
        mask: uint8 mask, axes close to RAS+.

    Returns:
        The mask without what lies more than ``STEM_MM`` below its lowest cross-section of ``CEREBELLUM_MM2``.
    """
    brain = to_array(mask)
    width, depth, height = mask.GetSpacing()
    wide = np.flatnonzero((brain > 0).sum(axis=(0, 1)) * width * depth >= CEREBELLUM_MM2)
    if not wide.size:
        return mask
    kept = brain.copy()
    kept[:, :, : max(0, math.ceil(wide[0] - STEM_MM / height))] = 0
    return image_like(kept, mask)


def stripped_support(image: "SimpleITK.Image") -> "SimpleITK.Image | None":
    """Find the foreground of a scan that may be skull-stripped.

    Args:
        image: RAS working image.

    Returns:
        uint8 mask of the largest component that differs from a constant background (holes filled), or None
        if the background is not constant or the component has not the volume of a brain.
    """
    from scipy import ndimage

    data = to_array(image)
    edge = np.concatenate([face.ravel() for face in (data[0], data[-1], data[:, 0], data[:, -1])])
    background = float(np.median(edge))
    # Interpolation leaves small ripples around a brain that was resampled after stripping.
    difference = np.abs(data - background)
    ripple = 0.01 * float(np.percentile(difference, 99.5))
    if (difference <= ripple).mean() < MIN_CONSTANT_FRACTION or (
        np.abs(edge - background) > ripple
    ).mean() > 0.1:
        return None
    support = image_like(largest_component(ndimage.binary_opening(difference > ripple)), image)
    return support if PLAUSIBLE_ML[0] <= volume_ml(support) <= PLAUSIBLE_ML[1] else None


def is_stripped(support: "SimpleITK.Image", brain: "SimpleITK.Image | None") -> bool:
    """Tell a skull-stripped scan (hardly more than the brain) from a small head on a blank background.

    Args:
        support: Result of :func:`stripped_support`.
        brain: Mask of the same scan by a program, None if it failed.

    Returns:
        Whether the scan is skull-stripped.
    """
    return brain is None or volume_ml(support) <= STRIPPED_RATIO * volume_ml(brain)


def trim_residue(support: "SimpleITK.Image", brain: "SimpleITK.Image") -> "tuple[SimpleITK.Image, float]":
    """Remove residual scalp and eyes from a skull-stripped scan: what is over 5 mm outside the brain.

    Args:
        support: uint8 mask of all that is not background.
        brain: uint8 mask by a program, on the same voxels.

    Returns:
        The remaining mask, and how much of the support lies more than 2 mm outside the brain, in ml.
        For coarser voxels more than one and a half voxels: two masks may differ by one anywhere.
    """
    import SimpleITK

    outside = SimpleITK.SignedMaurerDistanceMap(
        brain, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    far_mm = max(OUTSIDE_MM, 1.5 * max(support.GetSpacing()))
    near, far = (
        SimpleITK.And(support, SimpleITK.Cast(chosen, SimpleITK.sitkUInt8))
        for chosen in (outside <= RESIDUE_MM, outside > far_mm)
    )
    return near, volume_ml(far)
