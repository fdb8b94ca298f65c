"""Tissue landmarks: straight lines between the medians of fluid, grey and white matter. Nothing is learnt.

It is also where the model starts from (:mod:`bids_mmh.method.style.tissue_style`), without what varies
over the brain: a network that is not better than this control has learnt nothing worth having.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from bids_mmh.method.style.tissue_style import TissueStatistics


def landmark_style(volume: NDArray[Any], mask: NDArray[Any]) -> "TissueStatistics":
    """Measure a scan's style by tissue.

    Args:
        volume: Scaled intensities on the model's box, shape (x, y, z).
        mask: Brain mask of the same shape.
    """
    from bids_mmh.method.style.tissue_style import tissue_statistics
    from bids_mmh.method.style.tissues import default_priors_on, segment

    image, inside = _batch(volume, mask)
    found = segment(image, inside, default_priors_on(tuple(image.shape[2:])))
    return tissue_statistics(image, inside, found)


def mean_landmark_style(styles: "Sequence[TissueStatistics]") -> "TissueStatistics":
    """Mean style of scans at the target site."""
    from bids_mmh.method.style.tissue_style import mean_tissue_statistics

    return mean_tissue_statistics(styles)


def match_tissues(
    volume: NDArray[Any],
    mask: NDArray[Any],
    own: "TissueStatistics",
    target: "TissueStatistics",
    *,
    regional: float = 0.0,
) -> NDArray[np.float32]:
    """Map a scan from its own tissue medians to those of the target.

    Args:
        volume: Scaled intensities on the model's box, background -1, shape (x, y, z).
        mask: Brain mask of the same shape.
        own: The scan's style, from :func:`landmark_style`.
        target: Style to be in.
        regional: How far the medians follow their local values, 0 to 1.

    Returns:
        The mapped volume, background -1; the scan itself where its tissues cannot be separated.
    """
    from bids_mmh.method.style.tissue_style import tissue_map

    image, inside = _batch(volume, mask)
    return np.asarray(tissue_map(image, inside, own, target, regional=regional)[0, 0].numpy())


def _batch(volume: NDArray[Any], mask: NDArray[Any]) -> "tuple[Tensor, Tensor]":
    import torch

    image = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None, None]
    return image, torch.from_numpy(np.asarray(mask) != 0)[None, None]
