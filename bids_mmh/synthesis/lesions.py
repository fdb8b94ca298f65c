"""Lesions: spots in the white matter, and now and then a large one anywhere."""

import torch
from torch import Tensor

from bids_mmh.synthesis.anatomies import Anatomy
from bids_mmh.synthesis.regions import Region

WITH_LESIONS = 0.4  # of the subjects
WITH_STROKE = 0.1
MOST_SPOTS = 15


def lesion_map(anatomy: Anatomy, generator: torch.Generator) -> Tensor:
    """Share of diseased tissue in each voxel, 0 to 1, (H, W, D); zeros in most subjects."""
    shape = anatomy.first.shape
    found = torch.zeros(shape, device=anatomy.first.device)
    if float(torch.rand((), generator=generator)) < WITH_LESIONS:
        white = anatomy.region == Region.WHITE
        for _ in range(int(torch.randint(1, MOST_SPOTS + 1, (), generator=generator))):
            radius = 1.5 + 4.0 * float(torch.rand((), generator=generator)) ** 2
            _add_blob(found, _somewhere(white, generator), radius, white, generator)
    if float(torch.rand((), generator=generator)) < WITH_STROKE:
        brain = anatomy.mask
        radius = 8 + 14 * float(torch.rand((), generator=generator))
        _add_blob(found, _somewhere(brain, generator), radius, brain, generator)
    return found


def _somewhere(inside: Tensor, generator: torch.Generator) -> list[int]:
    places = inside.nonzero()
    return [int(i) for i in places[int(torch.randint(len(places), (), generator=generator))]]


def _add_blob(
    found: Tensor, centre: list[int], radius: float, inside: Tensor, generator: torch.Generator
) -> None:
    """Add an ellipsoid with a soft edge of a random severity, where ``inside``."""
    radii = [radius * (0.7 + 0.6 * float(torch.rand((), generator=generator))) for _ in range(3)]
    severity = 0.4 + 0.6 * float(torch.rand((), generator=generator))
    reach = [int(2 * r) + 2 for r in radii]
    box = tuple(slice(max(0, c - n), c + n + 1) for c, n in zip(centre, reach, strict=True))
    axes = [
        (torch.arange(b.start, min(b.stop, side), device=found.device) - c) / r
        for b, side, c, r in zip(box, found.shape, centre, radii, strict=True)
    ]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    distance = (x.square() + y.square() + z.square()).sqrt()
    blob = severity * torch.sigmoid((1.0 - distance) * 5) * inside[box]
    found[box] = torch.maximum(found[box], blob)
