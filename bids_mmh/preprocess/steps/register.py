"""Registration: rigid between the scans of a session, nine degrees of freedom to the template."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.images import image_like, to_array
from bids_mmh.preprocess.steps.resample import isotropic
from bids_mmh.preprocess.transforms import from_matrix, to_matrix

if TYPE_CHECKING:
    import SimpleITK

SEED = 20_240_601  # voxels are sampled at random places: the same ones in every run
HISTOGRAM_BINS = 32
# Mutual information of scans of one session, nats: 0.29 and more; at a false optimum 0.12 and less.
LOW_INFORMATION = 0.2


@dataclass(frozen=True)
class RegistrationSettings:
    """Effort of a registration.

    Attributes:
        work_mm: Voxel size of the working copies in mm.
        shrink: Shrink factor of each level, coarse to fine.
        sampling: Fraction of the fixed voxels used at each level.
        iterations: Maximum number of iterations at each level.
    """

    work_mm: float = 2.0
    shrink: tuple[int, ...] = (4, 2, 1)
    sampling: tuple[float, ...] = (1.0, 0.5, 0.25)
    iterations: int = 100


FAST_REGISTRATION = RegistrationSettings(work_mm=4.0, shrink=(2, 1), sampling=(1.0, 0.5), iterations=50)


def registration_settings(*, sloppy: bool) -> RegistrationSettings:
    """Choose the effort of a registration.

    Args:
        sloppy: Whether a quick, coarse one will do.

    Returns:
        The settings.
    """
    return FAST_REGISTRATION if sloppy else RegistrationSettings()


def rigid(
    fixed: "SimpleITK.Image",
    moving: "SimpleITK.Image",
    fixed_mask: "SimpleITK.Image",
    settings: RegistrationSettings,
    moving_mask: "SimpleITK.Image | None" = None,
) -> "tuple[SimpleITK.Transform, float]":
    """Register two scans of one subject by mutual information inside the fixed scan's brain.

    The coarsest level helps heads that are far apart, but can leave a good start for a local optimum, a head
    shifted along its axis: the registration is run with and without it, and the better result is used.

    Args:
        fixed: Scan with the mask.
        moving: Scan of any contrast.
        fixed_mask: uint8 brain mask on the voxels of ``fixed``.
        settings: Effort.
        moving_mask: uint8 brain mask of ``moving``: the centres of both brains are the starting point.

    Returns:
        The transform from points of ``fixed`` to points of ``moving``, and the mutual information in nats.
    """
    import SimpleITK

    fixed_low, moving_low = _prepare(fixed, settings), _prepare(moving, settings)
    mask_low = _prepare_mask(fixed_mask, settings, margin_mm=4.0)
    if moving_mask is None:
        # Scans of one session share the scanner's world, unless a converter lost it: then centres help.
        centred = _centred_start(fixed_low, moving_low)
        identity = SimpleITK.Euler3DTransform(centred)
        identity.SetTranslation((0.0, 0.0, 0.0))
        start = _best_start(_method(mask_low, settings), fixed_low, moving_low, [identity, centred])
    else:
        brains = (_prepare_mask(mask, settings, margin_mm=0.0) for mask in (fixed_mask, moving_mask))
        start = _centred_start(*brains)
    found = []
    for effort in (settings, replace(settings, shrink=settings.shrink[1:], sampling=settings.sampling[1:])):
        method = _method(mask_low, effort)
        method.SetOptimizerScalesFromPhysicalShift()
        found.append(_run(method, fixed_low, moving_low, SimpleITK.Euler3DTransform(start)))
    return max(found, key=lambda pair: pair[1])


def nine_dof(
    template: "SimpleITK.Image",
    template_mask: "SimpleITK.Image",
    brain: "SimpleITK.Image",
    settings: RegistrationSettings,
) -> "tuple[SimpleITK.Transform, float]":
    """Register a brain to the template by rotation, translation and three scales.

    Args:
        template: Template image, T1w.
        template_mask: uint8 brain mask of the template.
        brain: Scan of any contrast with 0 outside the brain.
        settings: Effort.

    Returns:
        The transform from points of the template to points of the scan, and the mutual information in nats.
    """
    import SimpleITK

    fixed = _prepare(SimpleITK.Mask(template, template_mask), settings)
    moving = _prepare(_above_zero(brain), settings)
    method = _method(_prepare_mask(template_mask, settings, margin_mm=8.0), settings)
    start = _best_start(method, fixed, moving, _pitched_starts(fixed, moving))
    versor = SimpleITK.VersorTransform()
    versor.SetMatrix(start.GetMatrix())
    transform = SimpleITK.ComposeScaleSkewVersor3DTransform()
    transform.SetCenter(start.GetCenter())
    transform.SetRotation(versor.GetVersor())
    transform.SetTranslation(start.GetTranslation())
    method.SetOptimizerScalesFromPhysicalShift()
    # Versor, translation and scale move; the three skews stay.
    method.SetOptimizerWeights([1.0] * 9 + [0.0] * (transform.GetNumberOfParameters() - 9))
    found, information = _run(method, fixed, moving, transform)
    # SimpleITK cannot invert scale and skew together: the same map as an affine transform can be.
    return from_matrix(to_matrix(found)), information


def _above_zero(brain: "SimpleITK.Image") -> "SimpleITK.Image":
    """Shift the intensities of a brain that reach far below 0 above its background, which is 0.

    A few negative voxels are noise; in a z-scored brain the centre of mass could be anywhere.
    """
    data = to_array(brain)
    inside = data != 0
    low = float(np.percentile(data[inside], 2)) if inside.any() else 0.0
    return image_like(np.where(inside, data - np.float32(low), data), brain) if low < 0 else brain


def _prepare(image: "SimpleITK.Image", settings: RegistrationSettings) -> "SimpleITK.Image":
    import SimpleITK

    low = isotropic(SimpleITK.Cast(image, SimpleITK.sitkFloat32), settings.work_mm)
    data = to_array(low)
    # A few very bright voxels (vessels, fat) would leave the histogram's bins empty.
    least, most = (float(p) for p in np.percentile(data, (0.1, 99.8)))
    # From 0 on: the starting point is the centre of mass, and there are no negative masses.
    return SimpleITK.Clamp(low, SimpleITK.sitkFloat32, least, most) - least


def _prepare_mask(
    mask: "SimpleITK.Image", settings: RegistrationSettings, margin_mm: float
) -> "SimpleITK.Image":
    import SimpleITK

    low = isotropic(SimpleITK.Cast(mask > 0, SimpleITK.sitkFloat32), settings.work_mm) >= 0.5
    return SimpleITK.BinaryDilate(low, [max(1, round(margin_mm / settings.work_mm))] * 3)


def _method(mask: "SimpleITK.Image", settings: RegistrationSettings) -> "SimpleITK.ImageRegistrationMethod":
    import SimpleITK

    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(list(settings.sampling), SEED)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetShrinkFactorsPerLevel(list(settings.shrink))
    method.SetSmoothingSigmasPerLevel([settings.work_mm * factor / 2.355 for factor in settings.shrink])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0,
        minStep=0.005,
        numberOfIterations=settings.iterations,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-6,
    )
    return method


def _best_start(
    method: "SimpleITK.ImageRegistrationMethod",
    fixed: "SimpleITK.Image",
    moving: "SimpleITK.Image",
    starts: "Iterable[SimpleITK.Euler3DTransform]",
) -> "SimpleITK.Euler3DTransform":
    def cost(start: "SimpleITK.Euler3DTransform") -> float:
        method.SetInitialTransform(start)
        try:
            return float(method.MetricEvaluate(fixed, moving))
        except RuntimeError:  # the two do not overlap
            return float("inf")

    return min(starts, key=cost)


def _pitched_starts(
    fixed: "SimpleITK.Image", moving: "SimpleITK.Image"
) -> "list[SimpleITK.Euler3DTransform]":
    import SimpleITK

    starts = []
    for pitch_deg in (0, -20, 20, -40, 40):
        start = SimpleITK.Euler3DTransform(_centred_start(fixed, moving))
        start.SetRotation(float(np.deg2rad(pitch_deg)), 0.0, 0.0)
        starts.append(start)
    return starts


def _centred_start(fixed: "SimpleITK.Image", moving: "SimpleITK.Image") -> "SimpleITK.Euler3DTransform":
    import SimpleITK

    start = SimpleITK.CenteredTransformInitializer(
        fixed, moving, SimpleITK.Euler3DTransform(), SimpleITK.CenteredTransformInitializerFilter.MOMENTS
    )
    return SimpleITK.Euler3DTransform(start)


def _run(
    method: "SimpleITK.ImageRegistrationMethod",
    fixed: "SimpleITK.Image",
    moving: "SimpleITK.Image",
    start: "SimpleITK.Transform",
) -> "tuple[SimpleITK.Transform, float]":
    method.SetInitialTransform(start, inPlace=True)
    # After a successful run SimpleITK looks up the Python class of the result and has none for scale and skew
    # together; the result itself is in ``start`` by then.
    with suppress(KeyError):
        method.Execute(fixed, moving)
    return start, -float(method.GetMetricValue())
