"""N4 bias field correction that keeps the scan's intensity unit."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_mmh.preprocess.images import image_like, to_array

if TYPE_CHECKING:
    import SimpleITK


# Below it a scan's zero is not where no signal was (a z-scored scan): nothing to divide by.
MIN_POSITIVE = 0.9
NOT_POSITIVE = (
    "More than a tenth of the brain is not above 0, as in a z-scored image: its bias field was not corrected."
)


@dataclass(frozen=True)
class N4Settings:
    """Settings of N4.

    Three levels end at a mesh of about 50 mm. A fourth fits the brain's own slow changes of contrast: if the
    bias field is weak, the result has more of it than the scan (docs/preprocessing.md).

    Attributes:
        levels: Number of times the B-spline mesh is refined.
        iterations: Maximum number of iterations at each level.
        work_mm: Voxel size in mm at which the field is estimated; it is evaluated on every voxel.
    """

    levels: int = 3
    iterations: int = 50
    work_mm: float = 5.0

    def as_dict(self) -> dict[str, Any]:
        """Give the settings for a report.

        Returns:
            Values by name.
        """
        return asdict(self)


FAST_N4 = N4Settings(levels=2, iterations=10, work_mm=6.0)
# The field is evaluated here and interpolated linearly: a mesh of 50 mm bends by less than 0.0005 in between.
FIELD_MM = 2.0


def is_positive(image: "SimpleITK.Image", mask: "SimpleITK.Image") -> bool:
    """Tell whether at least 90 % of the brain is above 0, so that a field can have multiplied it.

    Args:
        image: Scan in raw units.
        mask: uint8 brain mask on the same voxels.

    Returns:
        Whether it is; False for an empty mask.
    """
    inside = to_array(image)[to_array(mask) > 0]
    return bool(inside.size and (inside > 0).mean() >= MIN_POSITIVE)


def estimate_log_bias(
    image: "SimpleITK.Image", mask: "SimpleITK.Image", settings: N4Settings
) -> "SimpleITK.Image":
    """Estimate the bias field inside the brain.

    Args:
        image: Scan in raw units.
        mask: uint8 brain mask on the same voxels.
        settings: Settings of N4.

    Returns:
        Natural logarithm of the field, float32, on every voxel of ``image``, with a mean of 0 inside the
        mask, so that dividing by its exponential keeps the unit; outside within its range inside. It is 0
        everywhere if less than 90 % of the brain is above 0.
    """
    import SimpleITK

    if not is_positive(image, mask):
        return image_like(np.zeros(image.GetSize(), dtype=np.float32), image)
    # The logarithm needs positive values; interpolation rings below zero in data that were resampled before.
    usable = SimpleITK.And(
        SimpleITK.Cast(mask > 0, SimpleITK.sitkUInt8), SimpleITK.Cast(image > 0, SimpleITK.sitkUInt8)
    )
    shrink = [max(1, round(settings.work_mm / size)) for size in image.GetSpacing()]
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([settings.iterations] * settings.levels)
    n4.SetMaskLabel(1)
    coarse = SimpleITK.Shrink(image, shrink)
    n4.Execute(coarse, SimpleITK.Shrink(usable, shrink))
    field = n4.GetLogBiasFieldAsImage(_finer(coarse))
    values = to_array(_on_voxels(field, image, SimpleITK.sitkLinear))
    inside = values[to_array(usable) > 0]
    # Outside the brain nothing holds the field, and it runs off.
    bounded = np.clip(values, inside.min(), inside.max())
    return image_like((bounded - inside.mean()).astype(np.float32), image)


def _finer(image: "SimpleITK.Image") -> "SimpleITK.Image":
    """An image from the first to the last voxel of another, in steps of about ``FIELD_MM``.

    N4 stretches its mesh over whatever image it is asked for, so that one of another extent would get a
    displaced field.
    """
    import SimpleITK

    parts = [max(1, round(size / FIELD_MM)) for size in image.GetSpacing()]
    sides = [(n - 1) * k + 1 for n, k in zip(image.GetSize(), parts, strict=True)]
    finer = SimpleITK.Image(sides, SimpleITK.sitkFloat32)
    finer.SetSpacing([size / k for size, k in zip(image.GetSpacing(), parts, strict=True)])
    finer.SetOrigin(image.GetOrigin())
    finer.SetDirection(image.GetDirection())
    return finer


def divide_bias(image: "SimpleITK.Image", log_bias: "SimpleITK.Image") -> "SimpleITK.Image":
    """Divide an image by a bias field.

    Args:
        image: Scan in raw units.
        log_bias: Logarithm of the field on the same voxels or on a part of them, beyond which it is
            extrapolated by its nearest value.

    Returns:
        The corrected image, float32, in the unit of ``image``.
    """
    import SimpleITK

    everywhere = _on_voxels(log_bias, image, SimpleITK.sitkNearestNeighbor)
    return SimpleITK.Cast(image / SimpleITK.Exp(everywhere), SimpleITK.sitkFloat32)


def _on_voxels(field: "SimpleITK.Image", image: "SimpleITK.Image", interpolator: int) -> "SimpleITK.Image":
    """Resample a field to the voxels of an image; beyond its own, it goes on with the nearest value."""
    import SimpleITK

    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetReferenceImage(image)
    resampler.SetInterpolator(interpolator)
    resampler.SetUseNearestNeighborExtrapolator(True)
    return resampler.Execute(SimpleITK.Cast(field, SimpleITK.sitkFloat32))
