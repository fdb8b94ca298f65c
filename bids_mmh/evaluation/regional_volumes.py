"""Grey-matter volumes of regions, without an atlas: the model's box is cut into blocks.

Scans lie in template space, so one block holds much the same gyri in everybody, and head size is mostly gone:
volumes are in ml of the template's brain.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.evaluation.tissues import GREY_MATTER, SUBCORTICAL_GREY

BLOCKS = (4, 5, 5)
"""Along x, y and z: a side of a block is 36 to 37 mm."""
LEAST_ML = 2.0
"""Mean volume of a block that counts as a region; with less, its volume is mostly noise at the border."""


def regional_grey_matter(labels: NDArray[np.uint8], spacing_mm: Sequence[float]) -> tuple[float, ...]:
    """Measure the grey matter of each block of the box.

    Args:
        labels: Segmentation of a brain over the model's box, shape (x, y, z).
        spacing_mm: Voxel size along x, y and z, mm.

    Returns:
        Volumes in ml, shape (100,): block (i, j, k) of 4, 5 and 5 along x, y and z stands at 25 i + 5 j + k.
    """
    voxels = np.nonzero(np.isin(labels, (GREY_MATTER, SUBCORTICAL_GREY)))
    blocks = [place * count // side for place, count, side in zip(voxels, BLOCKS, labels.shape, strict=True)]
    counts = np.bincount(np.ravel_multi_index(blocks, BLOCKS), minlength=math.prod(BLOCKS))
    voxel_ml = math.prod(spacing_mm) / 1000
    return tuple(round(float(count * voxel_ml), 3) for count in counts)


def regions(volumes: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the blocks that hold grey matter.

    Args:
        volumes: Of the raw scans, ml, shape (scans, blocks).

    Returns:
        Whether each block is a region, shape (blocks,).
    """
    return np.asarray(volumes.mean(axis=0) >= LEAST_ML)
