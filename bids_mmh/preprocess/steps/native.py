"""The way back: what a model changed on its grid, carried to the voxels of the scan itself."""

from pathlib import Path

import numpy as np

from bids_mmh.preprocess.grid import Grid
from bids_mmh.preprocess.images import like, to_array

# Weight of the blurred mask at one and two smoothing widths outside a flat edge: nearer than the one the
# change goes on in full, further than the other there is none.
FULL_WEIGHT, NO_WEIGHT = 0.16, 0.023


def change_on_native_voxels(
    change: np.ndarray, mask: np.ndarray, *, grid: Grid, to_mni_xfm: Path, native: Path
) -> np.ndarray:
    """Resample a change of intensity from the model's grid to a scan's own voxels.

    Only the change is interpolated, never the scan: detail finer than the grid stays as it was acquired.

    Args:
        change: (X, Y, Z) scaled intensity after minus before, on ``grid``.
        mask: (X, Y, Z) brain mask on ``grid``; outside it there is no change to speak of.
        grid: the model's grid.
        to_mni_xfm: ITK transform that resamples the scan to MNI.
        native: image with the scan's geometry, in any axis order.

    Returns:
        The change on the voxels of ``native``, float32, in its axis order. Near the brain's surface it
        continues the nearest change inside the mask; further out it fades to 0, so that a head that is kept
        around the brain shows no seam.
    """
    import SimpleITK

    from bids_mmh.preprocess.images import read_nifti
    from bids_mmh.preprocess.transforms import read_transform

    to_native = read_transform(to_mni_xfm).GetInverse()
    reference = read_nifti(native)
    weight = np.asarray(mask > 0, dtype=np.float32)
    # Dividing by the blurred mask keeps the mask's edge from pulling the change towards 0.
    parts = []
    for array in (change.astype(np.float32) * weight, weight):
        smooth = SimpleITK.SmoothingRecursiveGaussian(like(array, grid.reference()), 1.5 * grid.spacing)
        sharp = like(array, grid.reference())
        pair = [
            SimpleITK.Resample(x, reference, to_native, SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32)
            for x in (sharp, smooth)
        ]
        parts.append([to_array(x) for x in pair])
    (sharp_change, smooth_change), (sharp_weight, smooth_weight) = parts
    inside = sharp_change / np.maximum(sharp_weight, 1e-6)
    around = smooth_change / np.maximum(smooth_weight, 1e-6)
    fading = around * np.clip((smooth_weight - NO_WEIGHT) / (FULL_WEIGHT - NO_WEIGHT), 0, 1)
    return np.where(sharp_weight > 0.5, inside, fading).astype(np.float32)
