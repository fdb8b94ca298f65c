"""Brain masks: deepbet for whole heads (T1w or T2w), the scan's own edge for skull-stripped ones."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.images import image_like, read_nifti, save_nifti, to_array

if TYPE_CHECKING:
    import SimpleITK

# Brains of adults and children, with a margin for atrophy at one end and for large heads at the other.
PLAUSIBLE_ML = (500.0, 2500.0)
# In a stripped volume all that is not background is brain; a head has more than twice its volume.
STRIPPED_RATIO = 1.35
MIN_CONSTANT_FRACTION = 0.2
RESIDUE_MM = 5.0
# At most 2.3 ml of five stripped scans of two sites lie this far outside deepbet's mask; 11 ml of one that
# kept a strip in front of the brain stem.
OUTSIDE_MM, MAX_OUTSIDE_ML = 2.0, 5.0

# deepbet is torch-based: it runs in a process of its own, so that this one stays light and forks safely.
_DEEPBET_SCRIPT = """
import sys
from deepbet import BrainExtraction
BrainExtraction(no_gpu=True).run(sys.argv[1], mask_path=sys.argv[2])
"""


def volume_ml(mask: "SimpleITK.Image") -> float:
    """Compute the volume of a mask.

    Args:
        mask: Non-zero inside.

    Returns:
        The volume in ml.

    Examples:
        >>> from bids_mmh.preprocess.images import to_sitk
        >>> volume_ml(to_sitk(np.ones((10, 10, 10), np.uint8), np.diag([2.0, 2.0, 2.0, 1.0])))
        8.0
    """
    return float((to_array(mask) > 0).sum() * np.prod(mask.GetSpacing()) / 1000)


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
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", _DEEPBET_SCRIPT, str(scan_file), str(mask_file)],
        env=os.environ | limits,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or not mask_file.is_file():
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BadDataError(f"The brain was not found in the scan (deepbet: {last}): check the image.")
    mask = image_like(to_array(read_nifti(mask_file, np.uint8)), image)
    scan_file.unlink()
    mask_file.unlink()
    if not PLAUSIBLE_ML[0] <= volume_ml(mask) <= PLAUSIBLE_ML[1]:
        raise BadDataError(
            f"The brain found in the scan measures {volume_ml(mask):.0f} ml, which cannot be right: check it."
        )
    return mask


def stripped_support(image: "SimpleITK.Image") -> "SimpleITK.Image | None":
    """Find the foreground of a scan that may be skull-stripped.

    Args:
        image: RAS working image.

    Returns:
        uint8 mask of the largest component that differs from a constant background (holes filled), or None
        if the background is not constant or the component has not the volume of a brain.
    """
    from scipy import ndimage

    data = to_array(image)
    edge = np.concatenate([face.ravel() for face in (data[0], data[-1], data[:, 0], data[:, -1])])
    background = float(np.median(edge))
    # Interpolation leaves small ripples around a brain that was resampled after stripping.
    difference = np.abs(data - background)
    ripple = 0.01 * float(np.percentile(difference, 99.5))
    if (difference <= ripple).mean() < MIN_CONSTANT_FRACTION or (
        np.abs(edge - background) > ripple
    ).mean() > 0.1:
        return None
    labels, count = ndimage.label(ndimage.binary_opening(difference > ripple))
    if count == 0:
        return None
    largest = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    support = image_like(ndimage.binary_fill_holes(largest).astype(np.uint8), image)
    return support if PLAUSIBLE_ML[0] <= volume_ml(support) <= PLAUSIBLE_ML[1] else None


def is_stripped(support: "SimpleITK.Image", brain: "SimpleITK.Image | None") -> bool:
    """Tell a skull-stripped scan (hardly more than the brain) from a small head on a blank background.

    Args:
        support: Result of :func:`stripped_support`.
        brain: deepbet's mask of the same scan, None if it failed.

    Returns:
        Whether the scan is skull-stripped.
    """
    return brain is None or volume_ml(support) <= STRIPPED_RATIO * volume_ml(brain)


def trim_residue(support: "SimpleITK.Image", brain: "SimpleITK.Image") -> "tuple[SimpleITK.Image, float]":
    """Remove residual scalp and eyes from a skull-stripped scan: what is over 5 mm outside deepbet's mask.

    Args:
        support: uint8 mask of all that is not background.
        brain: deepbet's uint8 mask on the same voxels.

    Returns:
        The remaining mask, and how much of the support lies more than 2 mm outside deepbet's mask, in ml.
        For coarser voxels more than one and a half voxels: two masks may differ by one anywhere.
    """
    import SimpleITK

    outside = SimpleITK.SignedMaurerDistanceMap(
        brain, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    far_mm = max(OUTSIDE_MM, 1.5 * max(support.GetSpacing()))
    near, far = (
        SimpleITK.And(support, SimpleITK.Cast(chosen, SimpleITK.sitkUInt8))
        for chosen in (outside <= RESIDUE_MM, outside > far_mm)
    )
    return near, volume_ml(far)
