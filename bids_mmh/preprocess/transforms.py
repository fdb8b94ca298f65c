"""Affine transforms as ITK means them: from points of the fixed image to points of the moving one, LPS mm."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.files import atomic_path
from bids_mmh.preprocess.images import itk_writes

if TYPE_CHECKING:
    import SimpleITK


def to_matrix(transform: "SimpleITK.Transform") -> np.ndarray:
    """Return the 4x4 matrix of a linear transform, found from where it takes four points."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    for axis in range(3):
        point = [0.0, 0.0, 0.0]
        point[axis] = 1.0
        matrix[:3, axis] = np.array(transform.TransformPoint(point)) - origin
    return matrix


def from_matrix(matrix: np.ndarray) -> "SimpleITK.AffineTransform":
    """Make the affine transform of a 4x4 matrix."""
    import SimpleITK

    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix(np.asarray(matrix, dtype=float)[:3, :3].ravel().tolist())
    transform.SetTranslation(np.asarray(matrix, dtype=float)[:3, 3].tolist())
    return transform


def compose(first: "SimpleITK.Transform", then: "SimpleITK.Transform") -> "SimpleITK.AffineTransform":
    """Return the single affine transform that applies ``first`` and then ``then`` to a point."""
    return from_matrix(to_matrix(then) @ to_matrix(first))


def save_transform(transform: "SimpleITK.Transform", path: Path) -> Path:
    """Write a linear transform atomically as an ITK text file with one ``AffineTransform_double_3_3``.

    Raises:
        IoError: it cannot be written.
    """
    import SimpleITK

    with atomic_path(path) as temporary, itk_writes(path):
        SimpleITK.WriteTransform(from_matrix(to_matrix(transform)), str(temporary))
    return path


def read_transform(path: str | Path) -> "SimpleITK.AffineTransform":
    """Read a linear transform from an ITK text file."""
    import SimpleITK

    return from_matrix(to_matrix(SimpleITK.ReadTransform(str(path))))
