"""Random shapes: the same anatomy as another subject's."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.method.linear import along_axes, gaussian
from bids_mmh.synthesis.anatomies import Anatomy
from bids_mmh.synthesis.regions import Region

LARGEST_MM = (4.0, 1.5)  # standard deviations of displacements of about 40 and 15 mm extent are below these
VENTRICLES_MM = 1.5


def sampling_grid(anatomy: Anatomy, generator: torch.Generator) -> Tensor:
    """Where each voxel of a deformed brain lies in the anatomy, for :func:`torch.nn.functional.grid_sample`.

    A smooth random displacement at two scales, ventricles and sulci widened or narrowed, and a flip of the
    sides in half of the cases.

    Returns:
        (1, H, W, D, 3), coordinates in the order (D, W, H) in [−1, 1].
    """
    shape = anatomy.first.shape
    device = anatomy.first.device
    displacement = torch.zeros(1, 3, *shape, device=device)
    for largest, cells in zip(LARGEST_MM, ((5, 6, 6), (11, 14, 14)), strict=True):
        size = largest * float(torch.rand((), generator=generator))
        coarse = size * torch.randn(1, 3, *cells, generator=generator)
        displacement += F.interpolate(coarse.to(device), size=shape, mode="trilinear", align_corners=True)
    displacement += _widening(anatomy, VENTRICLES_MM * (2 * float(torch.rand((), generator=generator)) - 1))
    axes = [torch.linspace(-1, 1, side, device=device) for side in shape]
    base = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=0)[None]
    mm = torch.tensor([2.0 / (side - 1) for side in shape], device=device).view(1, 3, 1, 1, 1)
    place = base + displacement * mm
    if float(torch.rand((), generator=generator)) < 0.5:
        place[:, 0] = -place[:, 0]
    return place.flip(1).permute(0, 2, 3, 4, 1)


def _widening(anatomy: Anatomy, amount_mm: float) -> Tensor:
    """Displacement along the slope of a blurred fluid map: away from fluid, or closer to it."""
    region = anatomy.region
    fluid = ((region == Region.VENTRICLE) | (region == Region.CSF)).float()[None, None]
    blurred = along_axes(fluid, [gaussian(side, 2.5) for side in fluid.shape[2:]])
    slopes = [F.pad(blurred.diff(dim=2 + axis), [0] * (4 - 2 * axis) + [0, 1]) for axis in range(3)]
    slope = torch.cat(slopes, dim=1)
    # sampled one step up the slope, a voxel shows what is nearer to fluid
    return slope * (amount_mm / slope.square().sum(1).max().sqrt().clamp(min=1e-6))


def warp(image: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample a (1, C, H, W, D) image at :func:`sampling_grid`; edges repeated."""
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)
