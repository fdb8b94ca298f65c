"""How well two registered images agree, and whether a small perturbation of the alignment would improve it.

Normalised mutual information (Studholme et al. 1999, Pattern Recognition 32:71-86) compares images of any two
contrasts, but its highest possible value depends on contrast, noise and subject. Whether it is at a *maximum*
does not: a good alignment is one that every small perturbation makes worse.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import to_array
from bids_mmh.preprocess.steps.resample import smooth_to

if TYPE_CHECKING:
    import SimpleITK

BINS = 32
GRID = model_grid(2.0)
# Perturbations that make a good alignment worse: small enough that the optimum is near, large enough that
# noise and interpolation do not matter.
SHIFT_MM, ROTATION_DEG = 5.0, 6.0
MARGIN = 10  # voxels around the grid, so that a shift has data beyond its edge
STRIDE = 2  # every second voxel of the mask: 100,000 fill the histogram as well as 200,000
MIN_VOXELS = 1000  # for a meaningful histogram
MIRROR = "mirror"


@dataclass(frozen=True)
class Agreement:
    """Agreement of two images.

    Attributes:
        information: Normalised mutual information less 1: 0 for independent images.
        distinctness: Relative decrease of the information under the best of twelve small perturbations (and
            the mirror image); below 0 if a perturbation makes the images agree better.
        best_perturbation: That perturbation: ``x``, ``y`` or ``z`` with sign and mm or degrees, or
            ``mirror``.
    """

    information: float
    distinctness: float
    best_perturbation: str


def sample(image: "SimpleITK.Image", transform: "SimpleITK.Transform") -> NDArray[np.float32]:
    """Resample a scan linearly to the 2 mm grid and the margin around it.

    Args:
        image: float32 scan.
        transform: From points in template space to points of the scan.

    Returns:
        Intensities on the grid and ``MARGIN`` voxels around it, 0 outside the scan's field of view.
    """
    import SimpleITK

    smooth = smooth_to(image, GRID.spacing)
    moved = SimpleITK.Resample(
        smooth, around_grid(), transform, SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32
    )
    return np.ascontiguousarray(to_array(moved))


def around_grid() -> "SimpleITK.Image":
    """Make a reference image to resample onto.

    Returns:
        An empty image with the geometry of the 2 mm grid and the margin around it.
    """
    import SimpleITK

    return SimpleITK.ConstantPad(GRID.reference(), [MARGIN] * 3, [MARGIN] * 3, 0)


def agreement(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], inside: NDArray[np.bool_], *, mirror: bool
) -> Agreement:
    """Measure the agreement of two scans.

    Args:
        fixed: Scan on the 2 mm grid and its margin, from :func:`sample`.
        moving: The other scan, likewise.
        inside: Boolean mask of the same shape: the voxels to compare.
        mirror: Whether to try the mirror image too: for two scans of one subject.

    Returns:
        The agreement; 0 and -1 if the mask has too few voxels.
    """
    voxels = np.argwhere(inside)[::STRIDE].T
    if voxels.shape[1] < MIN_VOXELS:
        return Agreement(0.0, -1.0, "")
    points, reference = voxels.astype(float), fixed[tuple(voxels)]
    information = normalised_mutual_information(reference, _interpolated(moving, points)) - 1
    perturbed = {
        name: normalised_mutual_information(reference, _interpolated(moving, moved)) - 1
        for name, moved in _perturbations(points, np.array(fixed.shape), mirror)
    }
    best = max(perturbed, key=lambda name: perturbed[name])
    return Agreement(information, (information - perturbed[best]) / max(information, 1e-6), best)


def normalised_mutual_information(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Compute (H(A) + H(B)) / H(A, B) of two lists of intensities.

    Args:
        first: Intensities A, shape (n,).
        second: Intensities B of the same voxels, shape (n,).

    Returns:
        1 for independent intensities to 2 for equal ones.

    Examples:
        >>> values = np.linspace(0, 1, 10_000)
        >>> round(normalised_mutual_information(values, -values), 2)
        2.0
    """
    joint = np.bincount(_binned(first) * BINS + _binned(second), minlength=BINS * BINS).reshape(BINS, BINS)
    joint_entropy = _entropy(joint.ravel())
    if joint_entropy == 0:
        return 1.0
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / joint_entropy


def _binned(values: NDArray[np.floating]) -> NDArray[np.intp]:
    low, high = np.percentile(values, (1, 99))
    scaled = (values - low) / max(float(high - low), 1e-9) * BINS
    return np.clip(scaled, 0, BINS - 1).astype(np.intp)


def _entropy(counts: NDArray[np.intp]) -> float:
    probabilities = counts[counts > 0] / counts.sum()
    return float(-(probabilities * np.log(probabilities)).sum())


def _interpolated(volume: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float32]:
    from scipy.ndimage import map_coordinates

    found: NDArray[np.float32] = map_coordinates(volume, points, order=1, mode="nearest")
    return found


def _perturbations(
    points: NDArray[np.float64], shape: NDArray[np.intp], mirror: bool
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Positions of the points (3, n) of the grid after each small perturbation."""
    from scipy.spatial.transform import Rotation

    centre = ((shape - 1) / 2)[:, None]
    for axis, letter in enumerate("xyz"):
        for sign in (-1, 1):
            shift = np.zeros((3, 1))
            shift[axis] = sign * SHIFT_MM / GRID.spacing
            yield f"{letter}{sign * SHIFT_MM:+g}mm", points + shift
            rotation = Rotation.from_euler(letter, sign * ROTATION_DEG, degrees=True).as_matrix()
            yield f"{letter}{sign * ROTATION_DEG:+g}deg", rotation @ (points - centre) + centre
    if mirror:
        yield MIRROR, np.concatenate([shape[0] - 1 - points[:1], points[1:]])
