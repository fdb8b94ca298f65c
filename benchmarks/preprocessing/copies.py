"""Copies of a scan that show the same brain: they have to end at the same place with the same intensities."""

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

TURN_DEG = (9.0, -6.0, 11.0)
SHIFT_MM = (12.0, -17.0, 23.0)
CODES = "LIP"
NEW_SIZES = (0.95, 1.1, 1.05)


def moved(source: Path, target: Path, *, number: int = 0) -> NDArray[np.float64]:
    """Turn and shift a scan by its header alone and store it in another order of axes.

    Args:
        source: The scan.
        target: The copy.
        number: Scans of a session are moved each in a way of its own.

    Returns:
        4 x 4 matrix from points of the scan to points of the copy, RAS mm.
    """
    image = nib.Nifti1Image.from_filename(source)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler(
        "xyz", np.asarray(TURN_DEG) * (1 + 0.5 * number), degrees=True
    ).as_matrix()
    turn[:3, 3] = np.asarray(SHIFT_MM) - 4 * number
    copy = nib.Nifti1Image(np.asanyarray(image.dataobj), turn @ image.affine)
    order = nib.orientations.ornt_transform(
        nib.io_orientation(copy.affine), nib.orientations.axcodes2ornt(CODES)
    )
    copy.as_reoriented(order).to_filename(target)
    return turn


def resampled(source: Path, target: Path, *, number: int = 0) -> NDArray[np.float64]:
    """Resample a scan with cubic splines to voxels that are turned, shifted and of another size.

    Args:
        source: The scan.
        target: The copy.
        number: Scans of a session are resampled each in a way of its own.

    Returns:
        4 x 4 matrix from points of the scan to points of the copy, RAS mm: they stay where they are.
    """
    image = nib.Nifti1Image.from_filename(source)
    data, affine = np.nan_to_num(image.get_fdata(dtype=np.float32)), np.asarray(image.affine)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    shape = [int(np.ceil(n / f)) for n, f in zip(data.shape, NEW_SIZES, strict=True)]
    new = np.eye(4)
    turn = Rotation.from_euler("xyz", np.asarray(TURN_DEG) - 3 * number, degrees=True).as_matrix()
    new[:3, :3] = turn @ (affine[:3, :3] / sizes) @ np.diag(sizes * NEW_SIZES)
    middle = affine @ [*((np.array(data.shape) - 1) / 2), 1.0]
    new[:3, 3] = middle[:3] - new[:3, :3] @ ((np.array(shape) - 1) / 2)
    pull = np.linalg.inv(affine) @ new
    values = ndimage.affine_transform(data, pull[:3, :3], pull[:3, 3], output_shape=shape, order=3)
    nib.Nifti1Image(np.clip(values, data.min(), data.max()), new).to_filename(target)
    return np.eye(4)
