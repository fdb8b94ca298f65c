"""Conversion of images between NIfTI (nibabel, RAS+ world) and SimpleITK (LPS world), and atomic writes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_mmh.bounding_box import bounding_box
from bids_mmh.errors import IoError
from bids_mmh.files import atomic_path

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def save_nifti(image: "nib.Nifti1Image", path: Path) -> Path:
    """Write a nibabel image atomically, and the same image always as the same bytes.

    Args:
        image: The image.
        path: NIfTI file to write; missing parent folders are made.

    Returns:
        The path.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_path(path) as temporary:
        write_nifti(image, temporary)
    return path


def write_nifti(image: "nib.Nifti1Image", path: Path) -> None:
    """Write a NIfTI file; ``.nii.gz`` at nibabel's level, with a library that is several times as fast.

    Args:
        image: The image.
        path: ``.nii`` or ``.nii.gz`` in a folder that exists.

    Raises:
        OSError: If it cannot be written.
    """
    import nibabel as nib
    from isal.igzip import IGzipFile

    if path.suffix != ".gz":
        nib.save(image, path)
        return
    with (
        path.open("wb") as file,
        IGzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as stream,
    ):
        image.to_stream(stream)


def open_nifti(path: Path, kind: "type[nib.Nifti1Image] | None" = None) -> "nib.Nifti1Image":
    """Open a well-formed NIfTI file; a compressed one is read at once, and faster than nibabel does.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        kind: Class of nibabel for its format; by default that of NIfTI-1.

    Returns:
        The image.

    Raises:
        OSError: If it cannot be read, or what is compressed in it is damaged.
    """
    import nibabel as nib
    from isal import igzip, igzip_lib

    kind = kind or nib.Nifti1Image
    if path.suffix != ".gz":
        return kind.from_filename(path)
    try:
        return kind.from_bytes(igzip.decompress(path.read_bytes()))
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # a class, whatever its stub says
        raise OSError(f"{path} is damaged: {error}") from error


def save_json(content: dict[str, Any], path: Path) -> Path:
    """Write a dictionary atomically as JSON.

    Args:
        content: Values that JSON can hold.
        path: File to write; missing parent folders are made.

    Returns:
        The path.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def save_work(image: "SimpleITK.Image", path: Path) -> Path:
    """Write a working image atomically.

    Args:
        image: The image.
        path: File to write, ``.nrrd``: it keeps the geometry in double precision, which NIfTI does not.

    Returns:
        The path.

    Raises:
        IoError: If it cannot be written.
    """
    import SimpleITK

    with atomic_path(path) as temporary, itk_writes(path):
        SimpleITK.WriteImage(image, str(temporary), useCompression=False)
    return path


@contextmanager
def itk_writes(path: Path) -> Iterator[None]:
    """Turn ITK's error into an :class:`~bids_mmh.errors.IoError` for the user.

    Args:
        path: File that the block writes.

    Yields:
        Nothing.

    Raises:
        IoError: If ITK cannot write the file.
    """
    try:
        yield
    except RuntimeError as error:
        raise IoError(
            f"{path} cannot be written: the disk is full, the quota exceeded, or the folder is gone. Free "
            "space and run again."
        ) from error


def read_work(path: str | Path) -> "SimpleITK.Image":
    """Read a working image.

    Args:
        path: File that :func:`save_work` wrote.

    Returns:
        The image in its own data type.
    """
    import SimpleITK

    return SimpleITK.ReadImage(str(path))


def to_sitk(data: np.ndarray, affine: np.ndarray) -> "SimpleITK.Image":
    """Make a SimpleITK image from an array and its affine.

    Args:
        data: Volume of shape (x, y, z).
        affine: 4 x 4 matrix from voxel indices to RAS+ mm, without shear.

    Returns:
        The image, in LPS world.

    Examples:
        >>> image = to_sitk(np.zeros((2, 3, 4), np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
        >>> image.GetSize(), image.GetSpacing()
        ((2, 3, 4), (1.0, 1.0, 2.0))
        >>> image.TransformIndexToPhysicalPoint((1, 0, 0))  # RAS +1 mm is LPS -1 mm
        (-1.0, 0.0, 0.0)
    """
    import SimpleITK

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((_RAS_TO_LPS @ (affine[:3, :3] / spacing)).ravel().tolist())
    image.SetOrigin((_RAS_TO_LPS @ affine[:3, 3]).tolist())
    return image


def to_array(image: "SimpleITK.Image") -> np.ndarray:
    """Get the voxels of a SimpleITK image.

    Args:
        image: Three-dimensional image.

    Returns:
        A copy of the voxels, shape (x, y, z).
    """
    import SimpleITK

    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)


def box_around(inside: np.ndarray, margin: int) -> tuple[slice, ...]:
    """Find the part of a volume that holds a mask: what is computed only there costs a part of the time.

    Args:
        inside: Boolean mask, shape (x, y, z).
        margin: Voxels around it, as far as the volume reaches.

    Returns:
        Slices of the array, or of a SimpleITK image; the whole volume for an empty mask.

    Examples:
        >>> inside = np.zeros((9, 9, 9), bool)
        >>> inside[4, 4, 1] = True
        >>> box_around(inside, 2)
        (slice(2, 7, None), slice(2, 7, None), slice(0, 4, None))
    """
    found = bounding_box(inside) or tuple(slice(0, n) for n in inside.shape)
    return tuple(
        slice(max(0, part.start - margin), min(n, part.stop + margin))
        for part, n in zip(found, inside.shape, strict=True)
    )


def corners(image: "SimpleITK.Image") -> np.ndarray:
    """Compute the centres of an image's eight corner voxels.

    Args:
        image: Three-dimensional image.

    Returns:
        Points, shape (8, 3), LPS mm.
    """
    last = np.array(image.GetSize()) - 1.0
    return np.array(
        [
            image.TransformContinuousIndexToPhysicalPoint((np.array(corner) * last).tolist())
            for corner in np.ndindex(2, 2, 2)
        ]
    )


def image_like(data: np.ndarray, reference: "SimpleITK.Image") -> "SimpleITK.Image":
    """Make an image of an array with the geometry of another image.

    Args:
        data: Volume of shape (x, y, z).
        reference: Image of the same size.

    Returns:
        The image, in the data type of ``data``.
    """
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.CopyInformation(reference)
    return image


def read_nifti(path: Path, pixel_type: type[np.generic] = np.float32) -> "SimpleITK.Image":
    """Read a well-formed NIfTI file, such as a template, in its own orientation.

    Args:
        path: NIfTI file with three dimensions.
        pixel_type: NumPy data type of the result.

    Returns:
        The image, in LPS world.
    """
    image = open_nifti(path)
    data = np.asanyarray(image.dataobj).astype(pixel_type)
    return to_sitk(data, np.asarray(image.affine))
