"""Transfer of the change by the model from its grid to the voxels of the scan."""

from pathlib import Path

import numpy as np

from bids_mmh.preprocess.grid import Grid
from bids_mmh.preprocess.images import image_like, to_array, to_sitk

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

    to_native = read_transform(to_mni_xfm).GetInverse()
    header = nib.Nifti1Image.from_filename(native)  # its voxels are not read
    reference = to_sitk(np.zeros(header.shape, np.uint8), np.asarray(header.affine))
    weight = np.asarray(mask > 0, dtype=np.float32)
    # Dividing by the blurred mask keeps the mask's edge from pulling the change towards 0.
    parts = []
    for array in (change.astype(np.float32) * weight, weight):
        smooth = SimpleITK.SmoothingRecursiveGaussian(image_like(array, grid.reference()), 1.5 * grid.spacing)
        sharp = image_like(array, grid.reference())
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
