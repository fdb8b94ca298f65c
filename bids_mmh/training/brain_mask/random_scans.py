"""Scans of random contrast, shape and field of view of a head whose brain is known.

Half of the scans follow the signal equations of random T1w and T2w protocols, half have a random intensity
for every label: a network that has seen both has no contrast to rely on.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy import ndimage
from torch import Tensor

from bids_mmh.brain_mask.network import RANGE_MM, SPACING_MM, normalised
from bids_mmh.method.linear import along_axes, gaussian, slices
from bids_mmh.synthesis.heads import Head
from bids_mmh.synthesis.scanner import Draw, draw_scanner
from bids_mmh.synthesis.surround import HIGHEST_LABEL, head_signals

SIDE = 96
"""Voxels along each axis of a scan: 192 mm, a part of most heads."""
LABEL_AIR = 0
TURN = math.radians(30.0)
SHIFT_MM = 45.0
SCALE = (0.72, 1.2)  # from a child's head, to a large one
BENDS = (((4, 4, 4), 6.0), ((9, 9, 9), 2.0))  # cells over the scan, largest standard deviation in mm


@dataclass(frozen=True)
class KnownHead:
    """A head and the distance to the surface of its brain, at 1 mm.

    Attributes:
        labels: (H, W, D) int32 label map.
        distance: (1, 1, H, W, D) distance in mm, negative inside the brain, bounded.
        centre: (3,) centre of the brain in voxels.
    """

    labels: Tensor
    distance: Tensor
    centre: Tensor

    @classmethod
    def of(cls, head: Head) -> Self:
        """Measure the distance to the surface of a head's brain; takes seconds."""
        margin = 12  # so that what is resampled beyond the head is air
        labels = np.pad(head.labels, margin)
        brain = np.pad(head.brain(), margin)
        outside = ndimage.distance_transform_edt(~brain) - 0.5
        inside = ndimage.distance_transform_edt(brain) - 0.5
        distance = np.where(brain, -inside, outside).clip(-2 * RANGE_MM, 2 * RANGE_MM)
        centre = torch.tensor(ndimage.center_of_mass(brain), dtype=torch.float32)
        return cls(torch.from_numpy(labels).int(), torch.from_numpy(distance).float()[None, None], centre)


@dataclass(frozen=True)
class Example:
    """A scan and its answer.

    Attributes:
        scan: (1, SIDE, SIDE, SIDE) intensities in [0, 1] at 2 mm.
        distance: the same shape, distance to the surface of the brain in mm, bounded by RANGE_MM.
        weight: the same shape, 0 outside the field of view.
    """

    scan: Tensor
    distance: Tensor
    weight: Tensor


def draw_example(head: KnownHead, generator: torch.Generator) -> Example:
    """Draw a scan of a head."""
    draw = Draw(generator)
    scale = draw.uniform(*SCALE)
    grid = _sampling_grid(head, scale, draw)
    signal = _intensities(draw)[head.labels][None, None]
    image = F.grid_sample(signal, grid, padding_mode="zeros", align_corners=True)
    distance = F.grid_sample(head.distance, grid, padding_mode="border", align_corners=True)
    distance = (distance / scale).clamp(-RANGE_MM, RANGE_MM)
    if draw.chance(0.12):
        image = image * (distance < draw.uniform(-0.5, 3.0))  # stripped before
    image = _acquired(image, draw)
    view = _field_of_view(draw)
    return Example(normalised(image * view)[0], distance[0], view.expand_as(distance)[0])


def _sampling_grid(head: KnownHead, scale: float, draw: Draw) -> Tensor:
    """Where each voxel of the scan lies in the label map, (1, SIDE, SIDE, SIDE, 3) for ``grid_sample``."""
    line = torch.linspace(-1, 1, SIDE) * (SIDE - 1) / 2 * SPACING_MM
    place = torch.stack(torch.meshgrid(line, line, line, indexing="ij"))[None]
    for cells, largest in BENDS:
        coarse = draw.uniform(0, largest) * draw.normal(1, 3, *cells)
        place = place + F.interpolate(coarse, size=place.shape[2:], mode="trilinear", align_corners=True)
    stretch = torch.exp(0.06 * draw.normal(3)) / scale
    matrix = _rotation(draw) * stretch
    if draw.chance(0.5):
        matrix[0] = -matrix[0]
    shift = torch.stack([torch.tensor(draw.uniform(-SHIFT_MM, SHIFT_MM)) for _ in range(3)])
    where = torch.einsum("ij,njhwd->nihwd", matrix, place)
    where = where + (head.centre + shift).view(1, 3, 1, 1, 1)
    last = torch.tensor(head.labels.shape).view(1, 3, 1, 1, 1) - 1
    return (2 * where / last - 1).flip(1).permute(0, 2, 3, 4, 1)


def _rotation(draw: Draw) -> Tensor:
    """A rotation about a random axis: most heads lie nearly straight."""
    axis = draw.normal(3)
    x, y, z = (axis / axis.norm() * TURN * draw.uniform(0, 1) ** 2).tolist()
    return torch.linalg.matrix_exp(torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]))


def _intensities(draw: Draw) -> Tensor:
    """Intensity of every label."""
    if draw.chance(0.5):
        table = torch.rand(HIGHEST_LABEL + 1, generator=draw.generator)
        table[LABEL_AIR] = draw.uniform(0, 1) if draw.chance(0.05) else 0.0
        table[515] *= draw.uniform(0, 1)  # cortical bone is dark in nearly every scan
        return table
    sequence = "T1w" if draw.chance(0.5) else "T2w"
    scanner = draw_scanner(sequence, draw.generator)
    table = head_signals(scanner, draw.generator, fat_saturated=draw.chance(0.4))
    table = table * torch.exp(0.15 * draw.normal(len(table)))
    if draw.chance(0.2):  # fluid suppressed, as in FLAIR
        table[[4, 43, 5, 44, 14, 15, 24, 72, 506]] *= draw.uniform(0, 0.3)
    return table


def _acquired(image: Tensor, draw: Draw) -> Tensor:
    """Texture, receive field, slices, blur, noise and a curve of intensity."""
    bend = F.interpolate(draw.normal(1, 1, 24, 24, 24), size=image.shape[2:], mode="trilinear")
    image = image * (1 + draw.uniform(0, 0.15) * bend)
    rough = draw.uniform(0, 0.5) * draw.normal(1, 1, 4, 4, 4)
    image = image * F.interpolate(rough, size=image.shape[2:], mode="trilinear", align_corners=True).exp()
    operators = [gaussian(SIDE, draw.uniform(0.3, 0.8)) for _ in range(3)]
    if draw.chance(0.4):
        axis = int(draw.choice(0, 1, 2, 2, 2))
        operators[axis] = slices(SIDE, draw.uniform(1.0, 3.5), draw.uniform(0, 1))
    image = along_axes(image, operators)
    level = image.mean().clamp(min=1e-6) * draw.log_uniform(0.01, 0.4)
    noise = level * draw.normal(2, *image.shape)
    image = torch.hypot(image + noise[0], noise[1])
    return image ** draw.uniform(0.7, 1.4)


def _field_of_view(draw: Draw) -> Tensor:
    """1 where the scan has values: in some scans a face of the field cuts the head."""
    view = torch.ones(1, 1, SIDE, SIDE, SIDE)
    for axis in range(3):
        if draw.chance(0.2):
            cut = int(draw.uniform(0, 0.3) * SIDE)
            start = 0 if draw.chance(0.5) else SIDE - cut
            view.narrow(2 + axis, start, cut).zero_()
    return view
