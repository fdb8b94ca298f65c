"""Anatomy preservation: similarity of the edges of an image before and after harmonization.

Harmonization may change intensities; it may not move, add, remove or invert edges. The metric decreases if it
does, and is recorded in every sidecar so that a poor result is visible.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.errors import BadDataError


def anatomy_preservation(before: NDArray[Any], after: NDArray[Any], mask: NDArray[Any]) -> float:
    """Compare the gradient vectors of an image before and after harmonization.

    The cosine similarity Σ ∇before·∇after / √(Σ |∇before|² · Σ |∇after|²) of the two gradient fields, by
    central differences, summed over the voxels of the mask whose six neighbours are in the mask too: no
    difference includes the background, whose step to the brain would otherwise dominate and raise the
    similarity of every output. Strong edges weigh most. Adding a constant to an image or scaling it by a
    positive factor changes nothing; an inverted contrast changes the sign.

    Args:
        before: Scaled intensities, shape (x, y, z).
        after: Scaled intensities on the same grid.
        mask: Brain mask on the same grid; non-zero is brain.

    Returns:
        The similarity in [-1, 1]: 1 if the anatomy is unchanged, near 0 if it is lost, -1 if the contrast is
        inverted. An image without any structure gives 0.

    Raises:
        BadDataError: If the shapes differ, a value in the mask is not finite, or the mask has no interior.

    Examples:
        >>> image = np.random.default_rng(0).normal(size=(8, 8, 8))
        >>> brain = np.ones(image.shape, bool)
        >>> round(anatomy_preservation(image, 0.5 * image + 0.1, brain), 3)
        1.0
        >>> round(anatomy_preservation(image, -image, brain), 3)
        -1.0
    """
    inside = np.asarray(mask) != 0
    if inside.ndim != 3 or before.shape != inside.shape or after.shape != inside.shape:
        raise BadDataError(
            f"Images of shapes {before.shape} and {after.shape} and a mask of shape {inside.shape} "
            "are not on one 3-D grid."
        )
    box = _bounding_box(inside)
    interior = _interior(inside[box])
    if not interior.any():
        raise BadDataError("The brain mask is too thin to compare anatomy in it: check the mask.")
    images = [np.asarray(image[box], dtype=np.float32) for image in (before, after)]
    if not all(np.isfinite(image[inside[box]]).all() for image in images):
        raise BadDataError("An image has values inside the brain mask that are not finite.")
    products = np.zeros(3)
    for axis in range(3):
        first, second = (_differences(image, axis, interior) for image in images)
        products += [np.vdot(a, b) for a, b in ((first, second), (first, first), (second, second))]
    return _cosine(*products, count=3 * int(interior.sum()))


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    if not mask.any():
        raise BadDataError("The brain mask is empty: check the mask.")
    extents = (np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    return tuple(slice(int(index[0]), int(index[-1]) + 1) for index in extents)


def _interior(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels whose six neighbours are in the mask; voxels on the border of the grid are not."""
    padded = np.pad(mask, 1)
    interior = mask.copy()
    for axis in range(3):
        for shift in (-1, 1):
            interior &= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
    return interior


def _differences(image: NDArray[np.float32], axis: int, interior: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Central differences along an axis in the interior of a mask; shape (voxels of the interior,)."""
    before, middle, after = (
        tuple(part if axis == own else slice(None) for own in range(3))
        for part in (slice(None, -2), slice(1, -1), slice(2, None))
    )
    # voxels on the border of the grid are no interior
    return np.asarray((image[after] - image[before])[interior[middle]], dtype=np.float64) / 2


def _cosine(both: float, first: float, second: float, *, count: int) -> float:
    """Cosine from the sums of products of two vectors of ``count`` numbers."""
    scale = float(np.sqrt(first * second))
    # Constant images have a residue of rounding errors: below it there is no structure to compare.
    if scale <= 1e-12 * count:
        return 0.0
    return float(np.clip(both / scale, -1.0, 1.0))
