"""Distances and overlaps for ``preprocessing.py``: what was found against what is true, or against a copy."""

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from outcome import Outcome
from scipy import ndimage

from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import read_nifti, to_array
from bids_mmh.preprocess.steps.native import change_on_native_voxels
from bids_mmh.preprocess.transforms import read_transform, to_matrix

Matrix = NDArray[np.float64]

# Where in the brain an alignment is measured: MNI mm (RAS), read off the ICBM 152 average.
LANDMARKS = {
    "anterior commissure": (0, 3, -4),
    "posterior commissure": (0, -25, -2),
    "frontal pole, left": (-20, 66, 6),
    "frontal pole, right": (20, 66, 6),
    "temporal pole, left": (-42, 16, -32),
    "temporal pole, right": (42, 16, -32),
    "occipital pole, left": (-18, -100, 2),
    "occipital pole, right": (18, -100, 2),
    "hand area, left": (-38, -24, 58),
    "hand area, right": (38, -24, 58),
    "vertex": (0, -30, 76),
    "lateral, left": (-64, -24, 8),
    "lateral, right": (64, -24, 8),
    "cerebellum, left": (-26, -60, -56),
    "cerebellum, right": (26, -60, -56),
}
WAVE_MM = 25.0
_WHITE = 1  # label of white matter in the phantom's tissues
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def landmarks() -> Matrix:
    """The landmarks as columns of homogeneous LPS mm, ``(4, n)``."""
    return _TO_LPS @ np.c_[np.array(list(LANDMARKS.values()), float), np.ones(len(LANDMARKS))].T


def distances(found: Matrix, truth: Matrix, points: Matrix) -> NDArray[np.float64]:
    """Distance in mm between where two 4 x 4 matrices take homogeneous points ``(4, n)``."""
    result: NDArray[np.float64] = np.linalg.norm(((found - truth) @ points)[:3], axis=0)
    return result


def shape_residual(from_template: Matrix, true_from_template: Matrix, shape: Path) -> float:
    """Mean distance in mm between where a matrix takes the landmarks and where they really are in the scan.

    Args:
        from_template: 4 x 4, template to scan, LPS mm.
        true_from_template: the true linear part of the way.
        shape: the displacement that follows it: template = p + d(p), RAS mm.
    """
    image = nib.Nifti1Image.from_filename(shape)
    field = np.squeeze(np.asarray(image.dataobj, dtype=float))
    to_voxels = np.linalg.inv(np.asarray(image.affine))
    target = (_TO_LPS @ landmarks())[:3]
    points = target.copy()
    for _ in range(20):  # p = t - d(p) converges: the field is smooth
        where = to_voxels[:3, :3] @ points + to_voxels[:3, 3:]
        moved = [ndimage.map_coordinates(field[..., k], where, order=1, mode="nearest") for k in range(3)]
        points = target - np.stack(moved)
    real = true_from_template @ _TO_LPS @ np.vstack([points, np.ones(points.shape[1])])
    return float(np.linalg.norm((from_template @ landmarks() - real)[:3], axis=0).mean())


def lps(matrix: Matrix) -> Matrix:
    """Return a 4 x 4 matrix between RAS points as one between LPS points, and the other way round."""
    return _TO_LPS @ matrix @ _TO_LPS


def dice(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Dice overlap of two masks."""
    a, b = first > 0, second > 0
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def on_voxels(path: Path, like: Path) -> SimpleITK.Image:
    """Read an image onto the voxels of another one of the same world, which may cover less or more."""
    image, reference = read_nifti(path), read_nifti(like, np.uint8)
    return SimpleITK.Resample(image, reference, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)


def surface_distance(first: SimpleITK.Image, second: SimpleITK.Image) -> float:
    """95th percentile, over both surfaces, of the distance in mm to the other mask's surface."""
    either = (to_array(first) > 0) | (to_array(second) > 0)
    x, y, z = (slice(max(0, s.start - 8), s.stop + 8) for s in ndimage.find_objects(either.astype(int))[0])
    a, b = (SimpleITK.Cast(image[x, y, z] > 0, SimpleITK.sitkUInt8) for image in (first, second))
    return float(np.percentile(np.r_[_to_surface(a, b), _to_surface(b, a)], 95))


def _to_surface(mask: SimpleITK.Image, other: SimpleITK.Image) -> NDArray[np.float32]:
    """Distances in mm of the surface voxels of one mask from the surface of another."""
    distance = SimpleITK.SignedMaurerDistanceMap(
        SimpleITK.LabelContour(other), squaredDistance=False, useImageSpacing=True
    )
    result: NDArray[np.float32] = np.abs(to_array(distance))[to_array(SimpleITK.LabelContour(mask)) > 0]
    return result


def variation(values: NDArray[np.floating]) -> float:
    """Coefficient of variation in %."""
    return float(100 * values.std() / values.mean())


def white_matter_variation(outcome: Outcome, tissues: Path, field: Path) -> tuple[float, float, float]:
    """Coefficient of variation in % inside the true white matter, of which the outermost voxel is left out.

    Returns:
        Before the correction, after it, and with the true field divided out: what noise and anatomy leave.
    """
    raw, corrected, truth = _raw_corrected_and(outcome, field)
    white = ndimage.binary_erosion(to_array(on_voxels(tissues, outcome.raw)) == _WHITE) & np.isfinite(raw)
    white &= truth > 0
    return variation(raw[white]), variation(corrected[white]), variation(raw[white] / truth[white])


def field_residual(outcome: Outcome, brain: Path, field: Path) -> tuple[float, float]:
    """Coefficient of variation in % of the true field, and of what is left of it, inside the true brain."""
    raw, corrected, truth = _raw_corrected_and(outcome, field)
    inside = (to_array(on_voxels(brain, outcome.raw)) > 0) & np.isfinite(raw) & (truth > 0)
    inside &= np.abs(raw) > 1e-6 * np.abs(raw[inside]).max()
    return variation(truth[inside]), variation(truth[inside] * corrected[inside] / raw[inside])


def _raw_corrected_and(outcome: Outcome, field: Path) -> tuple[NDArray[np.float32], ...]:
    return (
        to_array(read_nifti(outcome.raw)),
        to_array(read_nifti(outcome.folder / "native_preproc.nii.gz")),
        to_array(on_voxels(field, outcome.raw)),
    )


def intensity_difference(first: Outcome, second: Outcome) -> float:
    """Mean absolute difference in MNI space inside both masks, in % of the first scan's robust range."""
    a, b = first.image("mni_preproc"), second.image("mni_preproc")
    inside = (first.image("mni_mask") > 0) & (second.image("mni_mask") > 0)
    low, high = np.percentile(a[inside], (1, 99))
    return float(100 * np.abs(a - b)[inside].mean() / (high - low))


def native_round_trip(outcome: Outcome, spacing: float = 1.0) -> tuple[float, float]:
    """How far a change of intensity is off that goes from the scan to the model's grid and back.

    The change is waves of 25 mm along all three axes of the scan's world. It is written down exactly on the
    grid, through the transform that was found, and comes back by the program's own way.

    Args:
        outcome: a preprocessed scan.
        spacing: voxel size of the model's grid in mm.

    Returns:
        The shift of the whole in mm (least squares over the brain), and the root mean square of the
        difference in % of that of the change.
    """
    grid = model_grid(spacing)
    on_grid = outcome.from_template @ _points(grid.affine, grid.shape)
    mask = np.ones(grid.shape, np.uint8)
    xfm = outcome.folder / "to_mni_xfm.txt"
    native = outcome.folder / "native_preproc.nii.gz"
    change = _waves(on_grid)[0].reshape(grid.shape)
    back = change_on_native_voxels(change, mask, grid=grid, to_mni_xfm=xfm, native=native)
    inside = outcome.image("native_mask") > 0
    true, slope = _waves(_points(world(native), inside.shape, inside))
    off = back[inside] - true
    shift = np.linalg.lstsq(slope.T, -off, rcond=None)[0]
    return float(np.linalg.norm(shift)), float(100 * np.sqrt((off**2).mean() / (true**2).mean()))


def _waves(points: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of sines along three axes at points ``(4, n)``, and its gradient ``(3, n)`` per mm."""
    phase = 2 * np.pi / WAVE_MM * points[:3]
    return np.sin(phase).sum(axis=0), 2 * np.pi / WAVE_MM * np.cos(phase)


def _points(affine: Matrix, shape: tuple[int, ...], where: NDArray[np.bool_] | None = None) -> Matrix:
    """Homogeneous LPS mm ``(4, n)`` of all voxels of a RAS affine, or of those that are chosen."""
    voxels = np.argwhere(np.ones(shape, bool) if where is None else where)
    return _TO_LPS @ affine @ np.c_[voxels, np.ones(len(voxels))].T


def template_to_scan(transform_file: Path) -> Matrix:
    """Read a 4 x 4 matrix in LPS mm from an ITK text file."""
    return to_matrix(read_transform(transform_file))


def world(path: Path) -> Matrix:
    """Affine of a NIfTI file."""
    return np.array(nib.Nifti1Image.from_filename(path).affine, dtype=float)
