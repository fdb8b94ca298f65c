"""Images under their final names: written beside them, read back, checked, and only then renamed."""

from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_mmh.errors import BadDataError
from bids_mmh.files import atomic_path
from bids_mmh.preprocess.grid import Grid
from bids_mmh.preprocess.images import open_nifti, write_nifti

if TYPE_CHECKING:
    import nibabel as nib

CLIPPED_LIMIT = 0.01
"""Share of brain voxels at the lowest or the highest value from which a result is flagged."""
_TOLERANCE_MM = 1e-3  # NIfTI-1 stores affines in single precision


@dataclass(frozen=True, eq=False)
class Voxels:
    """The voxels that an image must have.

    Attributes:
        shape: number of voxels along each of three axes.
        affine: 4 x 4 matrix from voxel indices to RAS+ mm.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    @classmethod
    def of_grid(cls, grid: Grid) -> "Voxels":
        """The voxels of a model's grid."""
        return cls(grid.shape, grid.affine)

    @classmethod
    def of_file(cls, path: Path) -> "Voxels":
        """Read the voxels of an image; its data are not read."""
        import nibabel as nib

        from bids_mmh.preprocess.steps.load import nifti1_in_mm

        image = nifti1_in_mm(nib.load(path))  # type: ignore[arg-type]
        return cls(image.shape[:3], np.asarray(image.affine))


def publish_scan(
    source: "Path | nib.Nifti1Image", path: Path, voxels: Voxels, brain: NDArray[np.bool_]
) -> float:
    """Write an image of a brain, or copy its file, once it has passed its check.

    Args:
        source: the image, or a NIfTI file that is copied byte for byte.
        path: final name.
        voxels: what it must lie on.
        brain: boolean mask on these voxels.

    Returns:
        Clipped fraction: share of brain voxels at the lowest or the highest value that occurs in the brain.
        One voxel at each end has it in any case.

    Raises:
        BadDataError: a value is not finite, the voxels are others, or the brain holds one value only. There
            is then no such file, or the one that an earlier run left.
        OSError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        values = _written(source, temporary, path, voxels)[brain]
        if not values.size or (low := values.min()) == (high := values.max()):
            raise _refused(path, "its brain is empty")
    return float(((values == low) | (values == high)).mean())


def publish_mask(source: Path, path: Path, voxels: Voxels) -> NDArray[np.bool_]:
    """Copy the file of a brain mask, once it has passed its check.

    Args:
        source: NIfTI file.
        path: final name.
        voxels: what it must lie on.

    Returns:
        The mask.

    Raises:
        BadDataError: it is empty, holds other values than 0 and 1, or its voxels are others.
        OSError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        values = _written(source, temporary, path, voxels)
        if not values.any() or not np.isin(values, (0, 1)).all():
            raise _refused(path, "it is empty or holds values beside 0 and 1")
    return values > 0


def publish_map(image: "nib.Nifti1Image", path: Path, voxels: Voxels) -> None:
    """Write a map that may be zero everywhere, once it has passed its check.

    Args:
        image: the map.
        path: final name.
        voxels: what it must lie on.

    Raises:
        BadDataError: a value is not finite, or its voxels are others.
        OSError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        _written(image, temporary, path, voxels)


def clipping_flags(name: str, fraction: float) -> list[str]:
    """A sentence for the sidecar where too much of a brain is at the limits of what its image holds.

    Args:
        name: file name of the image.
        fraction: what :func:`publish_scan` returned.
    """
    if fraction <= CLIPPED_LIMIT:
        return []
    return [
        f"{fraction:.1%} of the brain's voxels in {name} have its lowest or its highest value (flagged above "
        f"{CLIPPED_LIMIT:.0%}): intensities were clipped. Look at the image."
    ]


def _written(
    source: "Path | nib.Nifti1Image", temporary: Path, path: Path, voxels: Voxels
) -> NDArray[np.float32]:
    """Write under a temporary name, and return what is read back from there."""
    if isinstance(source, Path):
        copyfile(source, temporary)
    else:
        write_nifti(source, temporary)
    written = open_nifti(temporary)
    if written.shape != voxels.shape or not np.allclose(written.affine, voxels.affine, atol=_TOLERANCE_MM):
        raise _refused(path, f"it is not on the {'x'.join(map(str, voxels.shape))} voxels that it belongs to")
    values = np.asarray(written.dataobj, dtype=np.float32)
    if wrong := int((~np.isfinite(values)).sum()):
        raise _refused(path, f"{wrong} of its values are not finite")
    return values


def _refused(path: Path, reason: str) -> BadDataError:
    return BadDataError(
        f"{path.name} was not written because {reason}: look at its scan, and please report it if that is in "
        "order."
    )
