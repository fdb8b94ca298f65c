"""Padding to the sides a network accepts, with background rather than mid-grey, and boxes around brains."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.method.config import BACKGROUND


def pad_to_multiple(volume: Tensor, multiple: int, value: float = BACKGROUND) -> Tensor:
    """Pad the last three sides of ``volume`` at their ends up to the next multiple; a no-op if they fit."""
    pads: list[int] = []
    for side in reversed(volume.shape[-3:]):
        pads += [0, -side % multiple]
    return F.pad(volume, pads, value=value) if any(pads) else volume


def brain_box(mask: Tensor, margin: int, multiple: int) -> tuple[slice, ...]:
    """The smallest box around the brains of a batch, for indexing (B, C, H, W, D).

    Args:
        mask: boolean, (B, 1, H, W, D).
        margin: voxels around the brains, as far as the volume goes.
        multiple: of which the corner of the box is one: a network sees the same patches as in the whole.

    Returns:
        Five slices; the whole volume where no mask holds a voxel.
    """
    box = [slice(None), slice(None)]
    for axis in (2, 3, 4):
        others = [other for other in range(5) if other != axis]
        filled = mask.amax(dim=others).nonzero().flatten()
        if not len(filled):
            return (slice(None),) * 5
        first, last = int(filled[0]) - margin, int(filled[-1]) + margin + 1
        first = max(0, first - first % multiple)
        box.append(slice(first, min(mask.shape[axis], last + -last % multiple)))
    return tuple(box)


def crop_to(volume: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo :func:`pad_to_multiple`: keep the first ``shape`` voxels of the last three sides."""
    h, w, d = shape[-3:]
    return volume[..., :h, :w, :d]
