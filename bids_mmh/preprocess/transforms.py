"""Linear transforms in ITK's convention: points of the fixed image to points of the moving one, LPS mm."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.files import atomic_path
from bids_mmh.preprocess.images import itk_writes

if TYPE_CHECKING:
    import SimpleITK


def to_matrix(transform: "SimpleITK.Transform") -> np.ndarray:
    """Compute the matrix of a linear transform from its images of four points.

    Args:
        transform: A linear transform.

    Returns:
        Homogeneous matrix, 4 x 4, mm.
    """
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    for axis in range(3):
        point = [0.0, 0.0, 0.0]
        point[axis] = 1.0
        matrix[:3, axis] = np.array(transform.TransformPoint(point)) - origin
    return matrix


def from_matrix(matrix: np.ndarray) -> "SimpleITK.AffineTransform":
    """Make the affine transform of a matrix.

    Args:
        matrix: Homogeneous matrix, 4 x 4, mm.

    Returns:
        The transform.
    """
    import SimpleITK

    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix(np.asarray(matrix, dtype=float)[:3, :3].ravel().tolist())
    transform.SetTranslation(np.asarray(matrix, dtype=float)[:3, 3].tolist())
    return transform


def compose(first: "SimpleITK.Transform", then: "SimpleITK.Transform") -> "SimpleITK.AffineTransform":
    """Compose two linear transforms.

    Args:
        first: Applied to a point first.
        then: Applied to the result.

    Returns:
        A single affine transform.

    Examples:
        >>> shift = np.eye(4)
        >>> shift[0, 3] = 5.0
        >>> both = compose(from_matrix(shift), from_matrix(np.diag([2.0, 2.0, 2.0, 1.0])))
        >>> both.TransformPoint((1.0, 0.0, 0.0))
        (12.0, 0.0, 0.0)
    """
    return from_matrix(to_matrix(then) @ to_matrix(first))


def save_transform(transform: "SimpleITK.Transform", path: Path) -> Path:
    """Write a linear transform atomically as an ITK text file with one ``AffineTransform_double_3_3``.

    Args:
        transform: A linear transform.
        path: File to write; missing parent folders are made.

    Returns:
        The path.

    Raises:
        IoError: If it cannot be written.
    """
    import SimpleITK

    with atomic_path(path) as temporary, itk_writes(path):
        SimpleITK.WriteTransform(from_matrix(to_matrix(transform)), str(temporary))
    return path


def read_transform(path: str | Path) -> "SimpleITK.AffineTransform":
    """Read a linear transform.

    Args:
        path: ITK text file.

    Returns:
        The transform as a single affine one.
    """
    import SimpleITK

    return from_matrix(to_matrix(SimpleITK.ReadTransform(str(path))))


def apply_matrix(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Transform points.

    Args:
        matrix: Homogeneous matrix, 4 x 4.
        points: Shape (3, n).

    Returns:
        The transformed points, shape (3, n).
    """
    return np.asarray(matrix[:3, :3] @ points + matrix[:3, 3:])


def voxels_to_world(image: "SimpleITK.Image") -> np.ndarray:
    """Compute the matrix from voxel indices to LPS mm.

    Args:
        image: Three-dimensional image.

    Returns:
        Homogeneous matrix, 4 x 4.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return matrix
