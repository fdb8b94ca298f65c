"""Run FreeSurfer's SynthSeg on volumes in memory, and bring its labels to four tissues on their own grid."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.tissues import CSF, GREY_MATTER, SUBCORTICAL_GREY, WHITE_MATTER

SYNTHSEG_TISSUES: Mapping[str, int] = MappingProxyType(
    {"CSF": CSF, "GM": GREY_MATTER, "WM": WHITE_MATTER, "subcortical": SUBCORTICAL_GREY}
)
# Labels of FreeSurfer's colour table, left and right.
_FREESURFER: Mapping[int, tuple[int, ...]] = {
    CSF: (4, 5, 14, 15, 24, 43, 44),
    GREY_MATTER: (3, 8, 42, 47),
    WHITE_MATTER: (2, 7, 16, 41, 46),
    SUBCORTICAL_GREY: (10, 11, 12, 13, 17, 18, 26, 28, 49, 50, 51, 52, 53, 54, 58, 60),
}
_BACKGROUND = -1.0


def segment_with_synthseg(
    volumes: Sequence[NDArray[Any]],
    mask: NDArray[np.bool_],
    *,
    affine: NDArray[np.float64],
    executable: Path,
    threads: int = 1,
) -> list[NDArray[np.uint8]]:
    """Segment versions of one brain with one call of the program, which loads its network once.

    Args:
        volumes: Scaled intensities, background -1, shape (x, y, z) each.
        mask: The brain mask they share.
        affine: Of their grid, from voxels to RAS+ mm.
        executable: ``mri_synthseg``.
        threads: CPU threads.

    Returns:
        Labels of :data:`SYNTHSEG_TISSUES` on the same grid, 0 outside the mask. SynthSeg answers on voxels of
        1 mm; the label at the centre of each voxel is taken.

    Raises:
        BadDataError: If the program fails or leaves a volume out.
    """
    import nibabel as nib

    with TemporaryDirectory(prefix="synthseg-") as scratch:
        given, made = Path(scratch) / "in", Path(scratch) / "out"
        given.mkdir()
        for number, volume in enumerate(volumes):
            # From 0 upwards, as scanners give them.
            image = np.where(mask, volume - _BACKGROUND, 0).astype(np.float32)
            nib.save(nib.Nifti1Image(image, affine), given / f"{number:04d}.nii.gz")
        _run([str(executable), "--i", str(given), "--o", str(made), "--cpu", "--threads", str(threads)])
        return [_tissues(made, number, mask, affine) for number in range(len(volumes))]


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BadDataError(f"{command[0]} cannot be run ({error}): check the FreeSurfer set-up.") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        last = f": {said[-1]}" if said else ""
        raise BadDataError(
            f"{command[0]} failed with exit code {done.returncode}{last}; check FreeSurfer and its licence."
        )


def _tissues(
    folder: Path, number: int, mask: NDArray[np.bool_], affine: NDArray[np.float64]
) -> NDArray[np.uint8]:
    import nibabel as nib
    from scipy.ndimage import affine_transform

    # The program adds a suffix of its own to the names.
    found = sorted(folder.glob(f"{number:04d}*.nii.gz")) if folder.is_dir() else []
    if not found:
        raise BadDataError("mri_synthseg ended well but left a scan out: update FreeSurfer.")
    image = nib.Nifti1Image.from_filename(found[0])
    labels = np.asarray(image.dataobj).astype(np.int64)
    table = np.zeros(max(labels.max(), 255) + 1, dtype=np.uint8)
    for tissue, codes in _FREESURFER.items():
        table[list(codes)] = tissue
    to_labels = np.linalg.inv(image.affine) @ affine
    on_grid = affine_transform(
        table[labels], to_labels[:3, :3], offset=to_labels[:3, 3], output_shape=mask.shape, order=0
    )
    return np.where(mask, on_grid, 0).astype(np.uint8)
