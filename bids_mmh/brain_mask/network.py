"""Signed distance to the surface of the brain, from a scan of any contrast at 2 mm.

The idea is SynthStrip's (Hoopes et al. 2022, NeuroImage 260, 119474): a U-Net that has seen contrasts at
random rather than a few real ones. Ours looks at 2 mm; its distance map, which is smooth, is
cut after interpolation to the scan's own voxels.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save
from torch import Tensor, nn

from bids_mmh.files import atomic_path

SPACING_MM = 2.0
RANGE_MM = 8.0
"""The distance is bounded: how far a place is from the brain says nothing once it is far."""
WIDTHS = (16, 32, 64, 96, 96)
MULTIPLE = 2 ** len(WIDTHS)
"""Every side of the input is a multiple of this many voxels."""


class MaskNetwork(nn.Module):
    """(N, 1, H, W, D) scans of 2 mm in [0, 1] to (N, 1, H, W, D) distances in mm, negative inside the brain.

    H, W and D are multiples of ``MULTIPLE``.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(before, width, stride=2), _convolution(width, width))
            for before, width in pairwise((1, *widths))
        )
        self.up = nn.ModuleList(_convolution(below + width, width) for width, below in pairwise(widths))
        self.distance = nn.Conv3d(widths[0], 8, 3, padding=1)

    def forward(self, scan: Tensor) -> Tensor:
        """Compute the distance map."""
        levels, features = [], scan
        for level in self.down:
            features = level(features)
            levels.append(features)
        for level, skipped in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            wider = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = level(torch.cat([wider, skipped], dim=1))
        return RANGE_MM * torch.tanh(_double(self.distance(features)) / RANGE_MM)


def _convolution(before: int, width: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv3d(before, width, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, width), nn.SiLU())


def _double(features: Tensor) -> Tensor:
    """(N, 8, H, W, D) to (N, 1, 2H, 2W, 2D): the eight channels are the eight octants of a voxel."""
    octants = features.unflatten(1, (2, 2, 2)).permute(0, 4, 1, 5, 2, 6, 3)
    return octants.flatten(5, 6).flatten(3, 4).flatten(1, 2)[:, None]


def normalised(scan: Tensor) -> Tensor:
    """Intensities of any range to [0, 1]: the minimum to 0, the 99th percentile and above to 1."""
    above = scan - scan.min()
    rank = round(0.99 * (above.numel() - 1)) + 1
    return (above / above.flatten().kthvalue(rank).values.clamp(min=1e-6)).clamp(max=1)


def save_mask_network(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write the state of a :class:`MaskNetwork`, in half precision, atomically."""
    tensors = {name: value.detach().half().contiguous() for name, value in weights.items()}
    with atomic_path(path) as file:
        file.write_bytes(save(tensors))


def load_mask_network(path: Path) -> MaskNetwork:
    """Read the weights that :func:`save_mask_network` wrote; the network is in evaluation mode."""
    network = MaskNetwork()
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return network.eval()
