"""Registration: rigid between the scans of a session, nine degrees of freedom to the template."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_mmh.preprocess.gradient_fields import (
    RADIUS_MM,
    REACH_MM,
    Edges,
    GradientField,
    Matrix,
    displaced,
    gradient_field,
    points_inside,
    refined,
    strongest_edges,
)
from bids_mmh.preprocess.images import image_like, to_array
from bids_mmh.preprocess.steps.resample import isotropic
from bids_mmh.preprocess.transforms import apply_matrix, from_matrix, to_matrix

if TYPE_CHECKING:
    import SimpleITK

START_MM = 4.0  # voxels that tell pitches apart which differ by 20 degrees
SEED = 20_240_601  # voxels are sampled at random places: the same ones in every run
HISTOGRAM_BINS = 32
# Coherence of the edges of two scans of one session at MIDDLE_MM: well above it where they are aligned, below
# it where they are a centimetre off (``preprocessing.py travel`` of benchmarks/; docs/preprocessing.md).
CLEAR_COHERENCE = 0.6
COARSE_MM, MIDDLE_MM = 5.0, 2.5  # widths of the Gaussian: of the search, and of what decides
FINE_MM = 2.0  # below it, gradients are computed around the brain alone
FINE_REACH_MM = 8.0  # with 4 a pair of a hundred stayed 2.7 mm off, with 40 another jumped by 22
BRAIN_MARGIN_MM = 3.0  # the skull, and fat that one scan saturates, are no edges of the brain
# Distance from the surface of the template, for edges as in it and for edges that are turned round: within it
# gradients know of the rim, where a T2w is brightest.
DEPTH_MM = {1: 5.0, -1: 8.0}
TEMPLATE_POINTS = 20_000
EDGE_FLOOR = 0.3
CLEAR_AGREEMENT = 0.3  # of edges with the template's: .7 to .8 for T1w, -.5 to -.6 for T2w
DOUBT_MM = 8.0  # root mean square between what intensities and edges say: 1 to 5 on heads
EDGE_POINTS = 25_000  # points at a width of 1 mm; fewer at larger ones
SEARCH_MM = (-24.0, -16.0, -8.0, 0.0, 8.0, 16.0, 24.0)
SEARCH_DEG = (-15.0, 0.0, 15.0)


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


class _Level:
    """One scale of a registration by edges: those of the fixed scan, and the moving scan's gradients."""

    def __init__(
        self, fixed: "SimpleITK.Image", moving: "SimpleITK.Image", mask: "SimpleITK.Image", sigma_mm: float
    ) -> None:
        points = points_inside(mask, BRAIN_MARGIN_MM, round(EDGE_POINTS / sigma_mm), SEED)
        self.edges = strongest_edges(gradient_field(fixed, sigma_mm, points), points)
        self.sigma_mm = sigma_mm
        self._moving = moving

    def field(self, near: Matrix) -> GradientField:
        """Gradients of the moving scan around the points, as a map places them; a coarse scale needs all."""
        around = apply_matrix(near, self.edges.points) if self.sigma_mm < FINE_MM else None
        return gradient_field(self._moving, self.sigma_mm, around)

    def refine(self, field: GradientField, start: Matrix) -> Matrix:
        """The best map near a start; a fine scale starts from a good one and has false optima beyond."""
        step, tolerance = self.sigma_mm / 2, self.sigma_mm / 50
        reach = FINE_REACH_MM if self.sigma_mm < FINE_MM else REACH_MM
        return refined(self.edges, field, start, step_mm=step, tolerance_mm=tolerance, reach_mm=reach)


def rigid(
    fixed: "SimpleITK.Image",
    moving: "SimpleITK.Image",
    fixed_mask: "SimpleITK.Image",
    settings: RegistrationSettings,
    moving_mask: "SimpleITK.Image | None" = None,
) -> "tuple[SimpleITK.Transform, float]":
    """Register two scans of one subject by the directions of their edges inside the fixed scan's brain.

    The headers come first: scans of one session share the scanner's world, unless a converter lost it. Where
    the edges do not clearly run together then, the search goes on around the centres of both scans, and the
    best result is used.

    Args:
        fixed: Scan with the mask.
        moving: Scan of any contrast.
        fixed_mask: uint8 brain mask on the voxels of ``fixed``.
        settings: Effort.
        moving_mask: uint8 brain mask of ``moving``: the search is around the centres of both brains.

    Returns:
        The transform from points of ``fixed`` to points of ``moving``, and the coherence of their edges: see
        :meth:`~bids_mmh.preprocess.gradient_fields.Edges.coherence`.
    """
    level = _Level(fixed, moving, fixed_mask, MIDDLE_MM)
    field = level.field(np.eye(4))
    found = level.refine(field, np.eye(4))
    coherence = level.edges.coherence(field, found)
    if coherence < CLEAR_COHERENCE:
        search = _Level(fixed, moving, fixed_mask, COARSE_MM)
        pair = (fixed, moving) if moving_mask is None else (fixed_mask, moving_mask)
        centred = _centred(*pair)
        starts = _searched(search.edges.thinned(4), search.field(centred), centred)
        candidates = [found, *(level.refine(field, start) for start in starts)]
        found = max(candidates, key=lambda matrix: level.edges.similarity(field, matrix))
        coherence = level.edges.coherence(field, found)
    for sigma_mm in settings.fine_mm:
        level = _Level(fixed, moving, fixed_mask, sigma_mm)
        found = level.refine(level.field(found), found)
    return from_matrix(found), coherence


def _centred(fixed: "SimpleITK.Image", moving: "SimpleITK.Image") -> Matrix:
    """The translation between the centres of mass of two heads, or masks."""
    low = [_prepare(image, FAST_REGISTRATION) for image in (fixed, moving)]
    matrix = np.eye(4)
    matrix[:3, 3] = to_matrix(_centred_start(*low))[:3, 3]
    return matrix


def _searched(edges: Edges, field: GradientField, centred: Matrix) -> list[Matrix]:
    """The most promising of many translations, and of many rotations at the best of those."""
    centre = edges.points.mean(axis=1)

    def best(parameters: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        values = [edges.similarity(field, displaced(centred, p, centre)) for p in parameters]
        return parameters[np.argsort(values)[::-1][:count]]

    moves = np.stack(np.meshgrid(*[SEARCH_MM] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    turns = np.stack(np.meshgrid(*[SEARCH_DEG] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    moved = best(np.hstack([np.zeros_like(moves), moves]), 8)
    arcs = np.hstack([np.deg2rad(turns) * RADIUS_MM, np.zeros_like(turns)])
    turned = best((moved[:, None] + arcs[None]).reshape(-1, 6), 3)
    return [displaced(centred, parameters, centre) for parameters in turned]


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

    fixed = _prepare(SimpleITK.Mask(template, template_mask), settings)
    moving = _prepare(_above_zero(brain), settings)
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
    step, tolerance = MIDDLE_MM / 2, MIDDLE_MM / 50
    better = refined(edges, field, found, step_mm=step, tolerance_mm=tolerance, scaled=True)
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

    centred = _centred_start(fixed, moving)
    starts = []
    for pitch_deg in (0, -20, 20, -40, 40):
        start = SimpleITK.Euler3DTransform(centred)
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
