"""Rigid registration of the scans of one session, by the directions of their edges."""

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
from bids_mmh.preprocess.steps.registration.settings import (
    FAST_REGISTRATION,
    MIDDLE_MM,
    SEED,
    RegistrationSettings,
    centred_start,
    working_copy,
)
from bids_mmh.preprocess.transforms import apply_matrix, from_matrix, to_matrix

if TYPE_CHECKING:
    import SimpleITK

# Coherence of the edges of two scans of one session at MIDDLE_MM: well above it where they are aligned, below
# it where they are a centimetre off (``preprocessing.py travel`` of benchmarks/; docs/preprocessing.md).
CLEAR_COHERENCE = 0.6
COARSE_MM = 5.0  # width of the Gaussian of the search
FINE_MM = 2.0  # below it, gradients are computed around the brain alone
FINE_REACH_MM = 8.0  # with 4 a pair of a hundred stayed 2.7 mm off, with 40 another jumped by 22
BRAIN_MARGIN_MM = 3.0  # the skull, and fat that one scan saturates, are no edges of the brain
EDGE_POINTS = 25_000  # points at a width of 1 mm; fewer at larger ones
SEARCH_MM = (-24.0, -16.0, -8.0, 0.0, 8.0, 16.0, 24.0)
SEARCH_DEG = (-15.0, 0.0, 15.0)


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
        reach = FINE_REACH_MM if self.sigma_mm < FINE_MM else REACH_MM
        return refined(self.edges, field, start, width_mm=self.sigma_mm, reach_mm=reach)


def _centred(fixed: "SimpleITK.Image", moving: "SimpleITK.Image") -> Matrix:
    """The translation between the centres of mass of two heads, or masks."""
    low = [working_copy(image, FAST_REGISTRATION) for image in (fixed, moving)]
    matrix = np.eye(4)
    matrix[:3, 3] = to_matrix(centred_start(*low))[:3, 3]
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
