"""Agreement of the tissue segmentations before and after harmonization.

The paper's two metrics (section 4.4), tissue by tissue: Dice's coefficient, and AP, one minus the relative
absolute difference of volumes. The latter is called volume preservation here, because ``anatomy`` has a
metric of that name which needs no segmentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.tissues import CSF, GREY_MATTER, WHITE_MATTER

TISSUES: Mapping[str, int] = MappingProxyType({"CSF": CSF, "GM": GREY_MATTER, "WM": WHITE_MATTER})


@dataclass(frozen=True)
class Overlap:
    """Agreement of two segmentations on one tissue.

    Attributes:
        dice: 2 |A ∩ B| / (|A| + |B|), in [0, 1].
        volume_preservation: 1 - ||A| - |B|| / |A|, 1 for equal volumes; negative where B has more than twice
            the volume of A.
    """

    dice: float
    volume_preservation: float


def overlap(
    before: NDArray[np.uint8], after: NDArray[np.uint8], tissues: Mapping[str, int] = TISSUES
) -> dict[str, Overlap]:
    """Compare the segmentations of a preprocessed image and of its harmonized version.

    Args:
        before: Labels of :func:`bids_mmh.evaluation.tissues.segment_tissues`, shape (x, y, z).
        after: Labels of the harmonized image on the same grid.
        tissues: Name of each tissue to its label.

    Returns:
        The agreement for each tissue, such as ``CSF``, ``GM`` and ``WM``.

    Raises:
        BadDataError: If the shapes differ, or a tissue is missing before harmonization.

    Examples:
        >>> before, after = np.array([[[1, 1, 2, 2]]]), np.array([[[1, 1, 1, 2]]])
        >>> overlap(before, after, {"GM": 1})
        {'GM': Overlap(dice=0.8, volume_preservation=0.5)}
    """
    if before.shape != after.shape:
        raise BadDataError(f"Segmentations of shapes {before.shape} and {after.shape} are not on one grid.")
    return {name: _agreement(before == label, after == label, name) for name, label in tissues.items()}


def _agreement(a: NDArray[np.bool_], b: NDArray[np.bool_], name: str) -> Overlap:
    size_a, size_b, common = int(a.sum()), int(b.sum()), int((a & b).sum())
    if size_a == 0:
        raise BadDataError(f"The segmentation of a preprocessed image has no {name}: check the scan.")
    return Overlap(dice=2 * common / (size_a + size_b), volume_preservation=1 - abs(size_a - size_b) / size_a)
