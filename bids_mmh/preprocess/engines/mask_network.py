"""Brain masks by this project's own network, for a scan of any contrast (:mod:`bids_mmh.brain_mask`)."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines.own_process import run_with_torch
from bids_mmh.preprocess.images import image_like, to_array
from bids_mmh.preprocess.steps.brain import largest_component, plausible
from bids_mmh.preprocess.steps.quality import dice
from bids_mmh.preprocess.steps.resample import isotropic

if TYPE_CHECKING:
    import SimpleITK

SPACING_MM = 2.0
BORDER_MM = -0.25
"""Where the distance is cut: at 0, masks of phantoms and of held-out heads are 2 % too large."""
FAR_MM = 8.0
"""Distance beyond the field of view of the scan."""


def network_mask(
    image: "SimpleITK.Image", work_dir: Path, threads: int = 1
) -> "tuple[SimpleITK.Image, float]":
    """Extract the brain of a head, or of a skull-stripped scan, of any contrast.

    The network sees the scan and its mirror image: what it is not sure of, it answers differently.

    Args:
        image: RAS working image.
        work_dir: Folder for the two temporary files.
        threads: Number of CPU threads.

    Returns:
        uint8 mask on the voxels of ``image``, and the Dice of the two masks that it is the mean of.

    Raises:
        BadDataError: If the network fails or the brain has no plausible volume.
    """
    import SimpleITK

    coarse = isotropic(image, SPACING_MM)
    both = _distances(to_array(coarse).astype(np.float32), work_dir, threads)
    distance = image_like(both.mean(axis=0), coarse)
    on_scan = SimpleITK.Resample(distance, image, SimpleITK.Transform(), SimpleITK.sitkLinear, FAR_MM)
    mask = image_like(largest_component(to_array(on_scan) < BORDER_MM), image)
    own, mirrored = (image_like((one < BORDER_MM).astype(np.uint8), coarse) for one in both)
    return plausible(mask, "the brain mask network"), dice(own, mirrored)


def _distances(scan: np.ndarray, work_dir: Path, threads: int) -> np.ndarray:
    """Distances to the surface in mm, negative inside, of a scan and its mirror image; (2, H, W, D)."""
    source, target = work_dir / "mask_network_in.npy", work_dir / "mask_network_out.npy"
    np.save(source, scan)
    last = run_with_torch(_write_distances, [str(source), str(target)], threads=threads)
    if last is not None:
        raise BadDataError(f"The brain was not found in the scan (brain mask network: {last}).")
    found: np.ndarray = np.load(target)
    source.unlink()
    target.unlink()
    return found


def _write_distances(scan: str, distances: str) -> None:
    from bids_mmh.brain_mask.predict import predict

    np.save(distances, predict(np.load(scan)))
