"""No network may leave the grid of its own patches in a brain.

A network that folds p×p×p voxels into channels answers for each place in a patch by channels of their own,
and what differs between them comes back as a pattern of period p: at p = 2, at the corners of the spectrum.
No scanner makes such a pattern, as none knows where the patches lie.
"""

from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

WIDTH = 8  # voxels of the window that a pattern's strength is averaged over; even, to answer patterns with 0


def without_grid(change: Tensor, mask: Tensor, patch: int) -> Tensor:
    """Take the pattern of the patches out of a change, by a notch at each of its frequencies.

    Each pattern of signs is demodulated, its strength averaged over a window inside the brain, and that much
    of it taken away. What the scan itself holds at these frequencies is not touched: only the change is
    filtered.

    Args:
        change: what a network did to a volume (B, 1, H, W, D); counts inside the mask.
        mask: boolean, same shape.
        patch: edge of the patches; there is nothing to do at 1.

    Returns:
        The change, 0 outside the mask.

    Raises:
        ValueError: for patches of more than two voxels, whose patterns are not signs alone.
    """
    if patch not in (1, 2):
        raise ValueError(f"patch is {patch} but patterns are known for 1 and 2")
    inside = torch.where(mask, change, 0.0)
    if patch == 1:
        return inside
    weight = _window(mask.to(change.dtype)).clamp(min=1e-6)
    # without its slow part, which at the edge of the brain would pass for a pattern
    fast = torch.where(mask, change - _window(inside) / weight, 0.0)
    found = torch.zeros_like(change)
    for signs in _patterns(change):
        found += signs * _window(signs * fast) / weight
    return torch.where(mask, change - found, 0.0)


def _patterns(like: Tensor) -> Iterator[Tensor]:
    """The seven patterns of ±1 of period 2, each (1, 1, H, W, D) or broadcast to it."""
    for alternates in product((False, True), repeat=3):
        if any(alternates):
            pattern = like.new_ones(1, 1, 1, 1, 1)
            for axis, alternate in zip((2, 3, 4), alternates, strict=True):
                if alternate:
                    shape = [1] * 5
                    shape[axis] = like.shape[axis]
                    index = torch.arange(like.shape[axis], device=like.device)
                    pattern = pattern * (1 - 2 * (index % 2)).to(like.dtype).view(shape)
            yield pattern


def _window(volume: Tensor) -> Tensor:
    """Mean over ``WIDTH`` + 1 voxels along each axis, the first and last by half; zeros beyond the edge."""
    half = WIDTH // 2
    for axis in range(3):
        for width, before, after in ((WIDTH, half, half - 1), (2, 0, 1)):
            padding = [0] * 6
            padding[4 - 2 * axis : 6 - 2 * axis] = before, after
            kernel = [width if i == axis else 1 for i in range(3)]
            volume = F.avg_pool3d(F.pad(volume, padding), kernel, stride=1)
    return volume
