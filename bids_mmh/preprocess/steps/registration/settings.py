"""What registrations have in common: their effort, their working copies, and where they start."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.images import to_array
from bids_mmh.preprocess.steps.resample import isotropic

if TYPE_CHECKING:
    import SimpleITK

SEED = 20_240_601
"""Voxels are sampled at random places: the same ones in every run."""
MIDDLE_MM = 2.5
"""Width of the Gaussian at which edges decide between alignments."""


@dataclass(frozen=True)
class RegistrationSettings:
    """Effort of a registration.

    Attributes:
        work_mm: Voxel size of the working copies in mm.
        shrink: Shrink factor of each level, coarse to fine.
        sampling: Fraction of the fixed voxels used at each level.
        iterations: Maximum number of iterations at each level.
        fine_mm: Widths of the Gaussian at which edges are aligned last, coarse to fine.
    """

    work_mm: float = 2.0
    shrink: tuple[int, ...] = (4, 2, 1)
    sampling: tuple[float, ...] = (1.0, 0.5, 0.25)
    iterations: int = 100
    fine_mm: tuple[float, ...] = (1.2,)


FAST_REGISTRATION = RegistrationSettings(
    work_mm=4.0, shrink=(2, 1), sampling=(1.0, 0.5), iterations=50, fine_mm=()
)


def registration_settings(*, sloppy: bool) -> RegistrationSettings:
    """Choose the effort of a registration.

    Args:
        sloppy: Whether a quick, coarse one will do.

    Returns:
        The settings.
    """
    return FAST_REGISTRATION if sloppy else RegistrationSettings()


def working_copy(image: "SimpleITK.Image", settings: RegistrationSettings) -> "SimpleITK.Image":
    """Resample an image for registration.

    Args:
        image: Any scan.
        settings: Effort, with the voxel size.

    Returns:
        float32 image with intensities from 0 on, without the few brightest.
    """
    import SimpleITK

    low = isotropic(SimpleITK.Cast(image, SimpleITK.sitkFloat32), settings.work_mm)
    data = to_array(low)
    # A few very bright voxels (vessels, fat) would leave the histogram's bins empty.
    least, most = (float(p) for p in np.percentile(data, (0.1, 99.8)))
    # From 0 on: the starting point is the centre of mass, and there are no negative masses.
    return SimpleITK.Clamp(low, SimpleITK.sitkFloat32, least, most) - least


def centred_start(fixed: "SimpleITK.Image", moving: "SimpleITK.Image") -> "SimpleITK.Euler3DTransform":
    """Move one working copy's centre of mass on to the other's.

    Args:
        fixed: Working copy.
        moving: Working copy.

    Returns:
        The translation from points of ``fixed`` to points of ``moving``.
    """
    import SimpleITK

    start = SimpleITK.CenteredTransformInitializer(
        fixed, moving, SimpleITK.Euler3DTransform(), SimpleITK.CenteredTransformInitializerFilter.MOMENTS
    )
    return SimpleITK.Euler3DTransform(start)
