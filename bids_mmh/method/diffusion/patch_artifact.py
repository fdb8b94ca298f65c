"""No network may leave the grid of its own patches in a brain.

A network that folds p×p×p voxels into channels answers for each place in a patch by channels of their own,
and what differs between them comes back as a pattern of period p: at p = 2, at the corners of the spectrum.
No scanner makes such a pattern, as none knows where the patches lie.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.method.padding import crop_to, pad_to_multiple
from bids_mmh.method.precision import without_autocast

REACH = 2  # patches to either side that a pattern's strength is averaged over


@without_autocast
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
    inside, brain = (pad_to_multiple(volume, 2, 0.0) for volume in (inside, mask.to(change.dtype)))
    weight = _window(F.avg_pool3d(brain, 2)).clamp(min=1e-6)
    # without its slow part: a slope, seen patch by patch, and the edge of the brain would pass for patterns
    slow = F.interpolate(_window(F.avg_pool3d(inside, 2)) / weight, scale_factor=2, mode="trilinear")
    patterns = _patterns().to(change)
    strength = torch.einsum("kp,bpxyz->bkxyz", patterns, _folded(inside - slow * brain)) / 8
    found = torch.einsum("kp,bkxyz->bpxyz", patterns, _window(strength) / weight)
    return torch.where(mask, change - crop_to(_unfolded(found), tuple(change.shape)), 0.0)


def _patterns() -> Tensor:
    """The seven patterns of ±1 of period 2, at the eight places of a patch; (7, 8)."""
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    return torch.kron(torch.kron(pair, pair), pair)[1:]


def _folded(volume: Tensor) -> Tensor:
    """The eight places of each patch as channels: (B, 1, H, W, D) to (B, 8, H/2, W/2, D/2)."""
    b, _, h, w, d = volume.shape
    return volume.view(b, h // 2, 2, w // 2, 2, d // 2, 2).permute(0, 2, 4, 6, 1, 3, 5).flatten(1, 3)


def _unfolded(folded: Tensor) -> Tensor:
    """Undo :func:`_folded`."""
    b, _, h, w, d = folded.shape
    return folded.view(b, 2, 2, 2, h, w, d).permute(0, 4, 1, 5, 2, 6, 3).reshape(b, 1, 2 * h, 2 * w, 2 * d)


def _window(patches: Tensor) -> Tensor:
    """Mean over the patches within ``REACH`` along each axis; zeros beyond the edge."""
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * REACH + 1, REACH
        patches = F.avg_pool3d(patches, kernel, stride=1, padding=padding)
    return patches
