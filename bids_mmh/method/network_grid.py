"""The grid that the network works on: cells of so many voxels along each axis.

What scanners differ in, once medians of tissues agree, is slow, and a network on cells of 2 mm costs an
eighth of one on voxels of 1 mm. docs/heldout_study.md has what each of them brings.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.method.linear import enlarged
from bids_mmh.method.padding import BACKGROUND, crop_to, pad_to_multiple

_MOSTLY = 0.5  # share of a cell that is brain in a cell of the brain
_LEAST = 0.1  # of the weights of the cells around a voxel: it lies in or beside one of the brain


def coarse_mask(mask: Tensor, coarsening: int) -> Tensor:
    """Cells that are brain for the greater part.

    Args:
        mask: boolean, (B, 1, H, W, D).
        coarsening: voxels along the edge of a cell.

    Returns:
        (B, 1, ⌈H / coarsening⌉, …), boolean.
    """
    return mask if coarsening == 1 else _share(mask, coarsening) > _MOSTLY


def coarse_brain(volume: Tensor, mask: Tensor, coarsening: int) -> Tensor:
    """Mean of the brain in each cell; background outside :func:`coarse_mask`.

    Args:
        volume: (B, 1, H, W, D).
        mask: boolean, same shape.
        coarsening: voxels along the edge of a cell; 1 leaves the volume as it is.
    """
    if coarsening == 1:
        return volume
    share = _share(mask, coarsening)
    total = F.avg_pool3d(pad_to_multiple(torch.where(mask, volume, 0.0), coarsening, 0.0), coarsening)
    return torch.where(share > _MOSTLY, total / share.clamp(min=_MOSTLY), BACKGROUND)


def on_voxels(change: Tensor, mask: Tensor, coarsening: int) -> Tensor:
    """A change of cells, interpolated linearly between those of the brain.

    Args:
        change: (B, 1, ⌈H / coarsening⌉, …), 0 outside :func:`coarse_mask`.
        mask: boolean, (B, 1, H, W, D).
        coarsening: voxels along the edge of a cell.

    Returns:
        (B, 1, H, W, D); of use inside the mask.
    """
    if coarsening == 1:
        return change
    whole = [side * coarsening for side in change.shape[-3:]]
    weight = enlarged(coarse_mask(mask, coarsening).to(change.dtype), whole)
    return crop_to(enlarged(change, whole) / weight.clamp(min=_LEAST), tuple(mask.shape))


def coarse_box(box: tuple[slice, ...], coarsening: int) -> tuple[slice, ...]:
    """The cells of a box of voxels whose corner is one of a cell; five slices, as the box."""
    return *box[:2], *(_cells(side, coarsening) for side in box[2:])


def _cells(side: slice, coarsening: int) -> slice:
    if side.start is None:
        return side
    return slice(side.start // coarsening, -(-side.stop // coarsening))


def _share(mask: Tensor, coarsening: int) -> Tensor:
    return F.avg_pool3d(pad_to_multiple(mask.float(), coarsening, 0.0), coarsening)
