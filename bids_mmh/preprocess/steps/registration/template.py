"""Registration of a brain to the template, with nine degrees of freedom."""

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.gradient_fields import (
    Edges,
    Matrix,
    gradient_field,
    points_inside,
    refined,
    strongest_edges,
)
from bids_mmh.preprocess.images import image_like, to_array
from bids_mmh.preprocess.steps.registration.settings import (
    MIDDLE_MM,
    SEED,
    RegistrationSettings,
    centred_start,
    working_copy,
)
from bids_mmh.preprocess.steps.resample import isotropic
from bids_mmh.preprocess.transforms import apply_matrix, from_matrix, to_matrix

if TYPE_CHECKING:
    import SimpleITK

START_MM = 4.0  # voxels that tell pitches apart which differ by 20 degrees
HISTOGRAM_BINS = 32
# Distance from the surface of the template, for edges as in it and for edges that are turned round: within it
# gradients know of the rim, where a T2w is brightest.
DEPTH_MM = {1: 5.0, -1: 8.0}
TEMPLATE_POINTS = 20_000
EDGE_FLOOR = 0.3
CLEAR_AGREEMENT = 0.3  # of edges with the template's: .7 to .8 for T1w, -.5 to -.6 for T2w
DOUBT_MM = 8.0  # root mean square between what intensities and edges say: 1 to 5 on heads


def nine_dof(
    template: "SimpleITK.Image",
    template_mask: "SimpleITK.Image",
    brain: "SimpleITK.Image",
    settings: RegistrationSettings,
) -> "tuple[SimpleITK.Transform, float]":
    """Register a brain to the template by rotation, translation and three scales.

    First by mutual information, which needs no good start, then by the directions of edges where these
    clearly run with the template's, or against them.

    Args:
        template: Template image, T1w.
        template_mask: uint8 brain mask of the template.
        brain: Scan of any contrast with 0 outside the brain.
        settings: Effort.

    Returns:
        The transform from points of the template to points of the scan, and the mutual information in nats
        that was reached before edges were looked at.
    """
    import SimpleITK

    fixed = working_copy(SimpleITK.Mask(template, template_mask), settings)
    moving = working_copy(_above_zero(brain), settings)
    mask = _prepare_mask(template_mask, settings, margin_mm=8.0)
    method = _method(mask, settings)
    start = _pitched(fixed, moving, mask, settings)
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
    matrix = to_matrix(found)
    if settings.fine_mm:
        matrix = _along_edges(template, template_mask, brain, matrix)
    return from_matrix(matrix), information


def _along_edges(
    template: "SimpleITK.Image", mask: "SimpleITK.Image", brain: "SimpleITK.Image", found: Matrix
) -> Matrix:
    """Improve a map by the directions of edges, for a T1w, or a T2w, in which all of them are turned round.

    Mutual information errs with contrast, receive field and mask; the directions of edges hardly do, so that
    one head lands at the same place from every scanner (docs/preprocessing.md).
    """
    for sign, depth_mm in DEPTH_MM.items():
        points = points_inside(mask, depth_mm, TEMPLATE_POINTS, SEED)
        edges = strongest_edges(gradient_field(template, MIDDLE_MM, points, EDGE_FLOOR), points)
        edges = Edges(edges.points, sign * edges.directions)
        field = gradient_field(brain, MIDDLE_MM, apply_matrix(found, edges.points), EDGE_FLOOR)
        if edges.agreement(field, found) > CLEAR_AGREEMENT:
            break
    else:
        return found
    better = refined(edges, field, found, width_mm=MIDDLE_MM, scaled=True)
    apart = apply_matrix(found, points) - apply_matrix(better, points)
    return better if np.sqrt((apart**2).sum(axis=0).mean()) < DOUBT_MM else found


def _above_zero(brain: "SimpleITK.Image") -> "SimpleITK.Image":
    """Shift the intensities of a brain that reach far below 0 above its background, which is 0.

    A few negative voxels are noise; in a z-scored brain the centre of mass could be anywhere.
    """
    data = to_array(brain)
    inside = data != 0
    low = float(np.percentile(data[inside], 2)) if inside.any() else 0.0
    return image_like(np.where(inside, data - np.float32(low), data), brain) if low < 0 else brain


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


def _pitched(
    fixed: "SimpleITK.Image",
    moving: "SimpleITK.Image",
    mask: "SimpleITK.Image",
    settings: RegistrationSettings,
) -> "SimpleITK.Euler3DTransform":
    """The best of several pitches of the head; ITK evaluates every voxel, so there are few of them."""
    import SimpleITK

    shrink = [max(1, round(START_MM / settings.work_mm))] * 3
    coarse = [SimpleITK.BinShrink(image, shrink) for image in (fixed, moving)]
    method = _method(SimpleITK.Shrink(mask, shrink), settings)

    def cost(start: "SimpleITK.Euler3DTransform") -> float:
        method.SetInitialTransform(start)
        try:
            return float(method.MetricEvaluate(*coarse))
        except RuntimeError:  # the two do not overlap
            return float("inf")

    return min(_pitched_starts(fixed, moving), key=cost)


def _pitched_starts(
    fixed: "SimpleITK.Image", moving: "SimpleITK.Image"
) -> "list[SimpleITK.Euler3DTransform]":
    import SimpleITK

    centred = centred_start(fixed, moving)
    starts = []
    for pitch_deg in (0, -20, 20, -40, 40):
        start = SimpleITK.Euler3DTransform(centred)
        start.SetRotation(float(np.deg2rad(pitch_deg)), 0.0, 0.0)
        starts.append(start)
    return starts


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
