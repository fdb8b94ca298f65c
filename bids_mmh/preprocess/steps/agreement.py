"""How well two images agree where they were put on each other, and whether a small move would mend it.

Normalised mutual information (Studholme et al. 1999, Pattern Recognition 32:71-86) compares images of any two
contrasts, but how high it can get depends on contrast, noise and person. Whether it is at its *highest* does
not: a good alignment is one that every small move makes worse.
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
# Moves that a good alignment does not survive: small enough that the optimum is near, large enough that noise
# and interpolation do not count.
MOVE_MM, MOVE_DEG = 5.0, 6.0
MARGIN = 10  # voxels around the grid, so that a move brings in what lies beside it
EVERY = 2  # of the voxels inside, each second: 100,000 fill the histogram as well as 200,000
LEAST = 1000  # voxels that are worth a histogram
MIRROR = "mirror"


@dataclass(frozen=True)
class Agreement:
    """How two images agree.

    Attributes:
        information: normalised mutual information less 1: 0 for images that know nothing of each other.
        distinctness: by which part of it the information falls with the best of twelve small moves (and the
            mirror image); below 0 a move makes the images agree better.
        best_move: that move: ``x``, ``y`` or ``z`` with its sign and mm or degrees, or ``mirror``.
    """

    information: float
    distinctness: float
    best_move: str


def sample(image: "SimpleITK.Image", transform: "SimpleITK.Transform") -> NDArray[np.float32]:
    """Resample a scan linearly to the 2 mm grid and the margin around it, 0 outside its field of view.

    Args:
        image: float32 scan.
        transform: from points in template space to points of the scan.
    """
    import SimpleITK

    around = SimpleITK.ConstantPad(GRID.reference(), [MARGIN] * 3, [MARGIN] * 3, 0)
    smooth = smooth_to(image, GRID.spacing)
    moved = SimpleITK.Resample(smooth, around, transform, SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32)
    return np.ascontiguousarray(to_array(moved))


def without_margin(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the part of what :func:`sample` gives that lies on the 2 mm grid."""
    inner = slice(MARGIN, -MARGIN)
    return volume[inner, inner, inner]


def agreement(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], inside: NDArray[np.bool_], *, mirror: bool
) -> Agreement:
    """Measure how two scans agree.

    Args:
        fixed: scan on the 2 mm grid and its margin, from :func:`sample`.
        moving: the other one, likewise.
        inside: boolean mask of the same shape: where to look.
        mirror: whether the mirror image is among the moves: for two scans of one person.
    """
    places = np.argwhere(inside)[::EVERY].T
    if places.shape[1] < LEAST:
        return Agreement(0.0, -1.0, "")
    points, seen = places.astype(float), fixed[tuple(places)]
    here = normalised_mutual_information(seen, _at(moving, points)) - 1
    moved = {
        name: normalised_mutual_information(seen, _at(moving, there)) - 1
        for name, there in _moves(points, np.array(fixed.shape), mirror)
    }
    best = max(moved, key=lambda name: moved[name])
    return Agreement(here, (here - moved[best]) / max(here, 1e-6), best)


def normalised_mutual_information(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """(H(A) + H(B)) / H(A, B) of two lists of intensities: 1 for independent ones, 2 for equal ones."""
    joint = np.bincount(_binned(first) * BINS + _binned(second), minlength=BINS * BINS).reshape(BINS, BINS)
    together = _entropy(joint.ravel())
    if together == 0:
        return 1.0
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / together


def _binned(values: NDArray[np.floating]) -> NDArray[np.intp]:
    low, high = np.percentile(values, (1, 99))
    scaled = (values - low) / max(float(high - low), 1e-9) * BINS
    return np.clip(scaled, 0, BINS - 1).astype(np.intp)


def _entropy(counts: NDArray[np.intp]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _at(volume: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float32]:
    from scipy.ndimage import map_coordinates

    found: NDArray[np.float32] = map_coordinates(volume, points, order=1, mode="nearest")
    return found


def _moves(
    points: NDArray[np.float64], shape: NDArray[np.intp], mirror: bool
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Where the points (3, n) of the grid go with each small move."""
    from scipy.spatial.transform import Rotation

    centre = ((shape - 1) / 2)[:, None]
    for axis, letter in enumerate("xyz"):
        for sign in (-1, 1):
            step = np.zeros((3, 1))
            step[axis] = sign * MOVE_MM / GRID.spacing
            yield f"{letter}{sign * MOVE_MM:+g}mm", points + step
            turn = Rotation.from_euler(letter, sign * MOVE_DEG, degrees=True).as_matrix()
            yield f"{letter}{sign * MOVE_DEG:+g}deg", turn @ (points - centre) + centre
    if mirror:
        yield MIRROR, np.concatenate([shape[0] - 1 - points[:1], points[1:]])
