"""Harmonized images as they are stored, on the model's grid and on the scan's own voxels."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.participant.harmonize import Harmonized
from bids_mmh.preprocess.grid import Grid

if TYPE_CHECKING:
    import nibabel as nib

# Harmonized intensities are stored as 0 to 1000 for scaled -1.5 to 1, the same for every scan: 0 is
# background, and the darkest fluid of a low-contrast scan, which may end below -1, stays above it.
STORED_SLOPE, STORED_INTERCEPT = 2.5 / 1000, -1.5

CHANGE_STEP = 0.01  # scaled units


def to_stored(scaled: np.ndarray) -> np.ndarray:
    """Scaled intensities as stored: −1.5 → 0, 1 → 1000; never below 0, which is background."""
    return np.maximum((scaled - STORED_INTERCEPT) / STORED_SLOPE, 0.0)


def stored_image(
    scaled: np.ndarray, brain: np.ndarray, like: "nib.Nifti1Image", outside: str = "zero"
) -> "nib.Nifti1Image":
    """Make a float32 image of scaled intensities with the geometry of ``like``.

    Args:
        scaled: (X, Y, Z) scaled intensities.
        brain: boolean mask of the same shape.
        like: image whose header it gets.
        outside: ``zero`` sets what lies outside the brain to 0, ``keep`` stores it like the brain.
    """
    import nibabel as nib

    header = like.header.copy()
    header.set_data_dtype(np.float32)
    data = to_stored(scaled) if outside == "keep" else np.where(brain, to_stored(scaled), 0.0)
    return nib.Nifti1Image(data.astype(np.float32), like.affine, header)


def change_image(change: np.ndarray, like: "nib.Nifti1Image") -> "nib.Nifti1Image":
    """Make an int8 image of an anatomical change, in steps of :data:`CHANGE_STEP`: small, as most of it is 0.

    Args:
        change: (X, Y, Z) scaled units; more than 1.27 is stored as 1.27.
        like: image whose header it gets.
    """
    import nibabel as nib

    header = like.header.copy()
    header.set_data_dtype(np.int8)
    steps = np.clip(np.rint(change / CHANGE_STEP), -127, 127).astype(np.int8)
    image = nib.Nifti1Image(steps, like.affine, header)
    image.header.set_slope_inter(CHANGE_STEP, 0)  # nibabel takes the array for what is stored
    return image


def stored_on_native(
    result: Harmonized,
    mask: np.ndarray,
    *,
    grid: Grid,
    to_mni_xfm: Path,
    preproc: Path,
    brain: Path,
    outside: str = "zero",
) -> "nib.Nifti1Image":
    """Add the model's change to the scan on its own voxels.

    Args:
        result: what the model made of the scan on its grid.
        mask: (X, Y, Z) brain mask there.
        grid: that grid.
        to_mni_xfm: ITK transform that resamples the scan to the grid.
        preproc: preprocessed scan on its own voxels.
        brain: brain mask on its own voxels.
        outside: ``zero`` or ``keep``, see :func:`stored_image`.

    Returns:
        The harmonized scan on its own voxels as it is stored.
    """
    from bids_mmh.preprocess.images import open_nifti
    from bids_mmh.preprocess.steps.native import change_on_native_voxels

    native = open_nifti(preproc)
    inside = np.asarray(open_nifti(brain).dataobj) > 0
    change = change_on_native_voxels(
        result.after - result.before, mask, grid=grid, to_mni_xfm=to_mni_xfm, native=preproc
    )
    own = np.asarray(native.dataobj, dtype=np.float32) * result.slope + result.intercept
    return stored_image(own + change, inside, native, outside)
