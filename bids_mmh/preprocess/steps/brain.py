"""Brain masks: deepbet for whole heads (T1w or T2w), the scan's own edge for stripped ones."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.images import like, read_nifti, save_nifti, to_array

if TYPE_CHECKING:
    import SimpleITK

# A brain of an adult or child, with room for atrophy on one side and for big heads on the other.
PLAUSIBLE_ML = (500.0, 2500.0)
# Of a stripped volume all that is not background is brain; a head is more than twice its brain.
STRIPPED_RATIO = 1.35
MIN_CONSTANT_FRACTION = 0.2
LEFTOVER_MM = 5.0
# Of five stripped scans of two sites at most 2.3 ml lie this far outside deepbet's mask; of one that kept a
# strip in front of the brain stem 11 ml.
OUTSIDE_MM, MUCH_OUTSIDE_ML = 2.0, 5.0

# deepbet is torch-based: it runs in a process of its own, so that this one stays light and forks safely.
_DEEPBET_SCRIPT = """
import sys
from deepbet import BrainExtraction
BrainExtraction(no_gpu=True).run(sys.argv[1], mask_path=sys.argv[2])
"""


def volume_ml(mask: "SimpleITK.Image") -> float:
    """Volume of a mask in millilitres."""
    return float((to_array(mask) > 0).sum() * np.prod(mask.GetSpacing()) / 1000)


def deepbet_mask(image: "SimpleITK.Image", work_dir: Path, threads: int = 1) -> "SimpleITK.Image":
    """Segment the brain of a T1w or T2w head, or of a stripped brain, with deepbet.

    deepbet was trained on T1w; on T2w of four raw sessions it agrees with the T1w of the same session to a
    Dice of 0.94 to 0.98, better than on T2w with inverted contrast.

    Args:
        image: RAS working image.
        work_dir: folder for the two temporary files.
        threads: number of CPU threads.

    Returns:
        uint8 mask on the voxels of ``image``.

    Raises:
        BadDataError: deepbet failed or found less than 500 ml or more than 2500 ml.
    """
    import nibabel as nib

    scan_file, mask_file = work_dir / "deepbet_in.nii", work_dir / "deepbet_out.nii"
    # deepbet works on voxels alone: the voxel sizes are all of the geometry that it is given.
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
    mask = like(to_array(read_nifti(mask_file, np.uint8)), image)
    scan_file.unlink()
    mask_file.unlink()
    if not PLAUSIBLE_ML[0] <= volume_ml(mask) <= PLAUSIBLE_ML[1]:
        raise BadDataError(
            f"The brain found in the scan measures {volume_ml(mask):.0f} ml, which cannot be right: check it."
        )
    return mask


def stripped_support(image: "SimpleITK.Image") -> "SimpleITK.Image | None":
    """Find the brain-sized blob of a scan that was skull-stripped before.

    Args:
        image: RAS working image.

    Returns:
        uint8 mask of the largest component that differs from a constant background (holes filled), or None
        when the background is not constant or the blob is not as big as a brain.
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
    support = like(ndimage.binary_fill_holes(largest).astype(np.uint8), image)
    return support if PLAUSIBLE_ML[0] <= volume_ml(support) <= PLAUSIBLE_ML[1] else None


def is_stripped(support: "SimpleITK.Image", brain: "SimpleITK.Image | None") -> bool:
    """Tell a stripped scan (hardly more than the brain) from a small head on a blank background.

    Args:
        support: result of :func:`stripped_support`.
        brain: deepbet's mask of the same scan, None when it failed.
    """
    return brain is None or volume_ml(support) <= STRIPPED_RATIO * volume_ml(brain)


def trim_leftovers(support: "SimpleITK.Image", brain: "SimpleITK.Image") -> "tuple[SimpleITK.Image, float]":
    """Take from a stripped scan's support what lies more than 5 mm outside deepbet's mask (scalp, eyes).

    Returns:
        The mask that is left, and how much of the support lies more than 2 mm outside deepbet's mask, in ml.
        On coarser voxels more than one and a half of them: two masks may differ by one anywhere.
    """
    import SimpleITK

    outside = SimpleITK.SignedMaurerDistanceMap(
        brain, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    far_mm = max(OUTSIDE_MM, 1.5 * max(support.GetSpacing()))
    near, far = (
        SimpleITK.And(support, SimpleITK.Cast(chosen, SimpleITK.sitkUInt8))
        for chosen in (outside <= LEFTOVER_MM, outside > far_mm)
    )
    return near, volume_ml(far)
