"""Slow fields over the brain: weighted means in Gaussian windows, on a coarse grid of the model's box."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.method.linear import enlarged
from bids_mmh.method.precision import without_autocast

BOX = (18, 23, 23)
"""Cells of 8 mm of a slow field, over the model's box of 144 × 184 × 184 mm."""


@without_autocast
def windowed(volume: Tensor, width: float) -> Tensor:
    """Means of a volume in Gaussian windows around each cell.

    Args:
        volume: (B, C, H, W, D) over the model's box, in any resolution.
        width: standard deviation of the window in cells.

    Returns:
        (B, C, *BOX); the window counts zeros beyond the edge of the box, so a ratio of two of these is a
        weighted mean.
    """
    means = F.adaptive_avg_pool3d(volume, BOX).flatten(0, 1)[:, None]
    reach = round(3 * width)
    # Not linear.gaussian: its windows are whole, and their rows sum to 1 at the edge of the box too.
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=volume.device) / width) ** 2)
    kernel = (kernel / kernel.sum()).to(means)
    for axis in range(3):
        shape, padding = [1, 1, 1], [0, 0, 0]
        shape[axis], padding[axis] = len(kernel), reach
        means = F.conv3d(means, kernel.view(1, 1, *shape), padding=padding)
    return means.view(*volume.shape[:2], *BOX)


def on_grid(field: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate a slow field (B, C, *BOX) on a grid of the box; (B, C, *shape)."""
    return enlarged(field, shape)
