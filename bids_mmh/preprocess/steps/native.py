"""Transfer of the change by the model from its grid to the voxels of the scan."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.grid import Grid
from bids_mmh.preprocess.images import box_around, image_like, to_array, to_sitk

if TYPE_CHECKING:
    import SimpleITK

SMOOTHING = 1.5  # width of the Gaussian, in voxels of the grid

# Weight of the blurred mask at one and two smoothing widths outside a flat edge: the change is full up to the
# first distance and fades to 0 at the second.
FULL_WEIGHT, NO_WEIGHT = 0.16, 0.023


def change_on_native_voxels(
    change: np.ndarray, mask: np.ndarray, *, grid: Grid, to_mni_xfm: Path, native: Path
) -> np.ndarray:
    """Resample a change of intensity from the model's grid to a scan's own voxels.

    Only the change is interpolated, never the scan: details finer than the grid stay as acquired.

    Args:
        change: Scaled intensity after minus before, shape (X, Y, Z), on ``grid``.
        mask: Brain mask on ``grid``, shape (X, Y, Z); the change outside it is ignored.
        grid: The model's grid.
        to_mni_xfm: ITK transform that resamples the scan to MNI.
        native: Image with the scan's geometry, in any axis order.

    Returns:
        The change on the voxels of ``native``, float32, in its axis order. Near the brain's surface it
        continues the nearest change inside the mask; further out it fades to 0, so that a head around the
        brain shows no seam.
    """
    import nibabel as nib
    import SimpleITK

    from bids_mmh.preprocess.transforms import read_transform

    header = nib.Nifti1Image.from_filename(native)  # its voxels are not read
    whole = to_sitk(np.zeros(header.shape, np.uint8), np.asarray(header.affine))
    transform = read_transform(to_mni_xfm)
    source = _sharp_and_smooth(change, np.asarray(mask) > 0, grid)
    box = _reach(source, transform, whole)
    result = np.zeros(header.shape, np.float32)
    if any(part.start >= part.stop for part in box):
        return result
    moved = SimpleITK.Resample(source, whole[box], transform.GetInverse(), SimpleITK.sitkLinear)
    # as they are stored, voxel by voxel: NumPy is several times as fast on arrays of their own
    parts = (SimpleITK.VectorIndexSelectionCast(moved, number) for number in range(4))
    sharp_change, sharp_weight, smooth_change, smooth_weight = map(to_array, parts)
    inside = sharp_change / np.maximum(sharp_weight, 1e-6)
    around = smooth_change / np.maximum(smooth_weight, 1e-6)
    fading = around * np.clip((smooth_weight - NO_WEIGHT) / (FULL_WEIGHT - NO_WEIGHT), 0, 1)
    result[box] = np.where(sharp_weight > 0.5, inside, fading)
    return result


def _reach(
    source: "SimpleITK.Image", transform: "SimpleITK.Transform", native: "SimpleITK.Image"
) -> tuple[slice, ...]:
    """The voxels of a scan that an image on the grid reaches: a head is twice as large as its brain.

    Args:
        source: image on a part of the grid.
        transform: affine, from the grid to the scan.
        native: image with the scan's geometry.
    """
    corners = product(*((-1.0, float(side)) for side in source.GetSize()))
    there = (transform.TransformPoint(source.TransformContinuousIndexToPhysicalPoint(c)) for c in corners)
    indices = np.array([native.TransformPhysicalPointToContinuousIndex(point) for point in there])
    first, last = np.floor(indices.min(axis=0)), np.ceil(indices.max(axis=0)) + 1
    sides = native.GetSize()
    return tuple(
        slice(max(0, int(low)), min(side, int(high)))
        for low, high, side in zip(first, last, sides, strict=True)
    )


def _sharp_and_smooth(change: np.ndarray, inside: np.ndarray, grid: Grid) -> "SimpleITK.Image":
    """A change inside a mask and the mask, as they are and smoothed, as the four values of one image.

    It covers the surroundings of the mask: further out, the smoothed mask has less than ``NO_WEIGHT``.
    """
    import SimpleITK
    from scipy.ndimage import gaussian_filter

    box = box_around(inside, round(3 * SMOOTHING))
    weight = inside[box].astype(np.float32)
    # Dividing by the blurred mask keeps the mask's edge from pulling the change towards 0.
    sharp = [change[box].astype(np.float32) * weight, weight]
    smooth = [gaussian_filter(x, SMOOTHING, mode="constant") for x in sharp]
    part = grid.reference()[box]
    return SimpleITK.Compose([image_like(x, part) for x in sharp + smooth])
