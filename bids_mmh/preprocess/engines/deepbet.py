"""Brain masks by deepbet, a network of others that was trained on T1w."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines.own_process import run_with_torch
from bids_mmh.preprocess.images import image_like, read_nifti, save_nifti, to_array
from bids_mmh.preprocess.steps.brain import plausible

if TYPE_CHECKING:
    import SimpleITK


def deepbet_mask(image: "SimpleITK.Image", work_dir: Path, threads: int = 1) -> "SimpleITK.Image":
    """Extract the brain of a T1w or T2w head, or of a skull-stripped scan, with deepbet.

    deepbet was trained on T1w; on T2w of four raw sessions it agrees with the T1w of the same session to a
    Dice of 0.94 to 0.98, better than on T2w with inverted contrast.

    Args:
        image: RAS working image.
        work_dir: Folder for the two temporary files.
        threads: Number of CPU threads.

    Returns:
        uint8 mask on the voxels of ``image``.

    Raises:
        BadDataError: If deepbet fails or finds less than 500 ml or more than 2500 ml.
    """
    import nibabel as nib

    scan_file, mask_file = work_dir / "deepbet_in.nii", work_dir / "deepbet_out.nii"
    # deepbet uses no geometry but the voxel sizes.
    save_nifti(nib.Nifti1Image(to_array(image), np.diag([*image.GetSpacing(), 1.0])), scan_file)
    last = run_with_torch(write_mask, [str(scan_file), str(mask_file)], threads=threads)
    if last is not None:
        raise BadDataError(f"The brain was not found in the scan (deepbet: {last}): check the image.")
    mask = image_like(to_array(read_nifti(mask_file, np.uint8)), image)
    scan_file.unlink()
    mask_file.unlink()
    return plausible(mask, "deepbet")


def write_mask(scan: str, mask: str) -> None:
    """Write the brain mask of a scan; loads PyTorch, see :func:`run_with_torch`.

    Args:
        scan: NIfTI file.
        mask: NIfTI file to write.
    """
    from deepbet import BrainExtraction

    BrainExtraction(no_gpu=True).run(scan, mask_path=mask)
