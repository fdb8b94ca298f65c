"""Padding to the sides a network accepts, with background rather than mid-grey."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.method.config import BACKGROUND


def pad_to_multiple(volume: Tensor, multiple: int, value: float = BACKGROUND) -> Tensor:
    """Pad the last three sides of ``volume`` at their ends up to the next multiple; a no-op if they fit."""
    pads: list[int] = []
    for side in reversed(volume.shape[-3:]):
        pads += [0, -side % multiple]
    return F.pad(volume, pads, value=value) if any(pads) else volume


def crop_to(volume: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo :func:`pad_to_multiple`: keep the first ``shape`` voxels of the last three sides."""
    h, w, d = shape[-3:]
    return volume[..., :h, :w, :d]
