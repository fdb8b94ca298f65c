"""Images between NIfTI (nibabel, RAS+ world) and SimpleITK (LPS world), and atomic writes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_mmh.errors import IoError
from bids_mmh.files import atomic_path

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def save_nifti(image: "nib.spatialimages.SpatialImage", path: Path) -> Path:
    """Write a nibabel image atomically."""
    import nibabel as nib

    with atomic_path(path) as temporary:
        nib.save(image, temporary)
    return path


def save_json(content: dict[str, Any], path: Path) -> Path:
    """Write a dictionary atomically as JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def save_work(image: "SimpleITK.Image", path: Path) -> Path:
    """Write a working image atomically; NRRD keeps the geometry in double precision, NIfTI does not.

    Raises:
        IoError: it cannot be written.
    """
    import SimpleITK

    with atomic_path(path) as temporary, itk_writes(path):
        SimpleITK.WriteImage(image, str(temporary), useCompression=False)
    return path


@contextmanager
def itk_writes(path: Path) -> Iterator[None]:
    """Turn what ITK raises where it cannot write ``path`` into an :class:`~bids_mmh.errors.IoError`."""
    try:
        yield
    except RuntimeError as error:
        raise IoError(
            f"{path} cannot be written: the disk is full, the quota used up, or the folder is gone. Free space "
            "and run again."
        ) from error


def read_work(path: str | Path) -> "SimpleITK.Image":
    """Read a working image that :func:`save_work` wrote."""
    import SimpleITK

    return SimpleITK.ReadImage(str(path))


def to_sitk(data: np.ndarray, affine: np.ndarray) -> "SimpleITK.Image":
    """Make a SimpleITK image.

    Args:
        data: volume of shape (x, y, z).
        affine: 4x4 matrix from voxel indices to RAS+ mm, without shear.
    """
    import SimpleITK

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((_RAS_TO_LPS @ (affine[:3, :3] / spacing)).ravel().tolist())
    image.SetOrigin((_RAS_TO_LPS @ affine[:3, 3]).tolist())
    return image


def to_array(image: "SimpleITK.Image") -> np.ndarray:
    """Return the voxels of a SimpleITK image in (x, y, z) order."""
    import SimpleITK

    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)


def corners(image: "SimpleITK.Image") -> np.ndarray:
    """Return the centres of an image's eight corner voxels, shape (8, 3), LPS mm."""
    last = np.array(image.GetSize()) - 1.0
    return np.array(
        [
            image.TransformContinuousIndexToPhysicalPoint((np.array(corner) * last).tolist())
            for corner in np.ndindex(2, 2, 2)
        ]
    )


def like(data: np.ndarray, reference: "SimpleITK.Image") -> "SimpleITK.Image":
    """Make an image of ``data`` (x, y, z) with the geometry of ``reference``."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.CopyInformation(reference)
    return image


def read_nifti(path: Path, pixel_type: type[np.generic] = np.float32) -> "SimpleITK.Image":
    """Read a well-formed NIfTI file, such as a template, in its own orientation.

    Args:
        path: NIfTI file with three dimensions.
        pixel_type: NumPy data type of the result.
    """
    import nibabel as nib

    image = nib.Nifti1Image.from_filename(path)
    data = np.asanyarray(image.dataobj).astype(pixel_type)
    return to_sitk(data, np.asarray(image.affine))
