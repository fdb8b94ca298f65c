"""Label maps of whole heads, with the brain that a mask should hold."""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mmh.bounding_box import bounding_box
from bids_mmh.errors import BadDataError
from bids_mmh.synthesis.regions import FREESURFER

SMOOTHED_MM = 2
"""What is thinner, such as fluid along a nerve, is no part of a mask; what is narrower is filled."""


@dataclass(frozen=True)
class Head:
    """A label map of a head, cropped to what is not air.

    Attributes:
        name: of the file, without what says that it is a label map.
        labels: (H, W, D) FreeSurfer's numbers for the brain and those of SURROUNDS around it, 1 mm.
        affine: 4 x 4 from voxel to RAS mm.
    """

    name: str
    labels: NDArray[np.int16]
    affine: NDArray[np.float64]

    def brain(self) -> NDArray[np.bool_]:
        """Tissue and the fluid in and around it: what the masks of common programs hold."""
        known = np.pad(np.isin(self.labels, list(FREESURFER)), SMOOTHED_MM)
        opened = ndimage.binary_opening(known, iterations=SMOOTHED_MM)
        closed = ndimage.binary_closing(opened, iterations=SMOOTHED_MM)
        inner = (slice(SMOOTHED_MM, -SMOOTHED_MM),) * known.ndim
        return ndimage.binary_fill_holes(closed)[inner]


def read_head(path: Path) -> Head:
    """Read ``*_dseg.nii.gz`` of 1 mm; axes close to RAS+."""
    image = nib.as_closest_canonical(nib.Nifti1Image.from_filename(path))
    labels = np.asarray(image.dataobj).astype(np.int16)
    box = bounding_box(labels)
    if box is None:
        raise BadDataError(f"{path} has no label but 0: is it a label map of a head?")
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    return Head(path.name.split("_")[0], labels[box], affine)
