"""Preprocessed derivatives as training volumes: which scans there are, and how one is read."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.bids.names import voxel_size
from bids_mmh.derivatives.scan import DerivedScan, read_derived
from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.padding import BACKGROUND

DARKEST = BACKGROUND + 1e-3  # in the brain; apart from background in float16 too


@dataclass(frozen=True)
class Volume:
    """One scan on the model's grid: image and mask (1, 1, H, W, D), sequence index (1,)."""

    image: Tensor
    mask: Tensor
    sequence: Tensor

    def to(self, device: torch.device) -> "Volume":
        """The same scan on ``device``, its image laid out as the convolutions like it."""
        image = self.image.to(device, non_blocking=True, memory_format=torch.channels_last_3d)
        return Volume(image, self.mask.to(device, non_blocking=True), self.sequence.to(device))

    def pin_memory(self) -> "Volume":
        """The same scan in page-locked memory, from where it goes to a GPU while the GPU computes."""
        return Volume(self.image.pin_memory(), self.mask.pin_memory(), self.sequence)


def find_scans(derivatives: Sequence[Path], sequences: Sequence[str]) -> list[DerivedScan]:
    """All ``space-*_desc-preproc`` scans of the given sequences, sorted by path in each folder.

    Raises:
        NoInputError: nothing found.
        BadDataError: a sidecar lacks what training needs, or its image or mask is missing.
    """
    sidecars = [
        path
        for root in derivatives
        for sequence in sequences
        for path in sorted(root.glob(f"sub-*/**/anat/*_space-*_desc-preproc_{sequence}.json"))
    ]
    if not sidecars:
        folders = ", ".join(str(root) for root in derivatives)
        raise NoInputError(
            f"No preprocessed {' or '.join(sequences)} scans in {folders}: run `participant` first."
        )
    return [read_derived(path) for path in _finest(sidecars)]


def _finest(sidecars: Sequence[Path]) -> list[Path]:
    """One sidecar a scan, that of the smallest voxels: scans may lie on the grids of several models."""
    finest: dict[tuple[str, ...], Path] = {}
    for path in sidecars:
        scan = (str(path.parent), *(part for part in path.stem.split("_") if not part.startswith("res-")))
        if scan not in finest or voxel_size(path) < voxel_size(finest[scan]):
            finest[scan] = path
    return list(finest.values())


def load_on_grid(scan: DerivedScan, shape: tuple[int, int, int]) -> np.ndarray:
    """Read a scan, scale it, put background at −1 and average down to ``shape``; float16 (H, W, D).

    In-mask values are kept strictly above −1, so that the mask is ``volume > −1``.

    Raises:
        BadDataError: image and mask differ in shape, the grid is not theirs over a whole factor, or a file
            cannot be read.
    """
    image = torch.from_numpy(_read_array(scan.image))[None, None]
    mask = torch.from_numpy(_read_array(scan.mask) > 0)[None, None]
    factor = max(1, round(image.shape[2] / shape[0]))
    if mask.shape != image.shape or tuple(side // factor for side in image.shape[2:]) != tuple(shape):
        raise BadDataError(
            f"{scan.image} and its mask have shapes {tuple(image.shape[2:])} and {tuple(mask.shape[2:])}, "
            f"which do not fit a {shape} grid: train on a coarser one or preprocess them again."
        )
    scaled = image * scan.slope + scan.intercept
    weight = F.avg_pool3d(mask.float(), factor)
    mean = F.avg_pool3d(torch.where(mask, scaled, 0.0), factor) / weight.clamp(min=1e-6)
    volume = torch.where(weight > 0.5, mean.clamp(min=DARKEST), BACKGROUND)
    return volume[0, 0].numpy().astype(np.float16)


def _read_array(file: Path) -> np.ndarray:
    try:
        return np.asarray(cast(nib.Nifti1Image, nib.load(file)).dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        raise BadDataError(f"{file} cannot be read ({error}): preprocess the scan again.") from error
