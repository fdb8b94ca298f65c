"""A small travelling study out of nothing: a few anatomies, each seen by the same few scanners."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bids_mmh.method.linear import along_axes
from bids_mmh.synthesis.anatomies import Anatomy, load_anatomy
from bids_mmh.synthesis.deformation import sampling_grid, warp
from bids_mmh.synthesis.lesions import lesion_map
from bids_mmh.synthesis.regions import Region
from bids_mmh.synthesis.relaxation import relaxation
from bids_mmh.synthesis.scanner import (
    Scanner,
    draw_scanner,
    field,
    noise,
    resolution,
    signals,
)

LIMIT = 0.9  # of scaled intensities: where the 1st and 99th percentile of a brain lie, as in preprocessing
BACKGROUND = -1.0


@dataclass(frozen=True)
class SimulatedScan:
    """One brain as one scanner sees it, scaled as preprocessing scales it.

    Attributes:
        image: (1, 1, H, W, D) scaled intensities, background −1.
        clean: the same without noise: resolution and field are still the scanner's.
    """

    image: Tensor
    clean: Tensor


@dataclass(frozen=True)
class SimulatedStudy:
    """Scans of every subject at every scanner.

    Attributes:
        sequence: BIDS suffix of all of them.
        masks: brain mask of each subject, (1, 1, H, W, D) boolean.
        scans: ``scans[subject][scanner]``.
    """

    sequence: str
    masks: tuple[Tensor, ...]
    scans: tuple[tuple[SimulatedScan, ...], ...]


def simulate_study(
    anatomies: Sequence[Sequence[Path | Anatomy]],
    sequence: str,
    seed: int,
    *,
    subjects: int = 2,
    scanners: int = 3,
    device: torch.device | str = "cpu",
) -> SimulatedStudy:
    """Draw and scan a study; it follows from ``seed`` alone (on one kind of device).

    Args:
        anatomies: files to draw subjects from, or what was read from them to ``device``, by kind. All
            subjects of a study are of one kind: an anatomy of labels and one of a real scan differ in more
            than two subjects do.
        sequence: ``T1w`` or ``T2w``.
        seed: of everything.
        subjects: each of another anatomy.
        scanners: scanners.
        device: where to compute.
    """
    generator = torch.Generator().manual_seed(seed)
    machines = [draw_scanner(sequence, generator) for _ in range(scanners)]
    kind = anatomies[int(torch.randint(len(anatomies), (), generator=generator))]
    chosen = torch.randperm(len(kind), generator=generator)[:subjects].tolist()
    masks, scans = [], []
    for index in chosen:
        source = kind[index]
        anatomy = source if isinstance(source, Anatomy) else load_anatomy(source, device)
        mask, seen = _scanned(anatomy, machines, generator)
        masks.append(mask)
        scans.append(seen)
    return SimulatedStudy(sequence, tuple(masks), tuple(scans))


def _scanned(
    anatomy: Anatomy, machines: Sequence[Scanner], generator: torch.Generator
) -> tuple[Tensor, tuple[SimulatedScan, ...]]:
    """One subject, deformed, with lesions in some, at every scanner."""
    place = sampling_grid(anatomy, generator)
    mask = warp(anatomy.mask[None, None].float(), place) >= 0.5
    lesions = lesion_map(anatomy, generator)
    texture = _texture(anatomy, generator)
    subject = int(torch.randint(2**62, (), generator=generator))
    images = torch.cat([_contrast(anatomy, m, subject, texture, lesions) for m in machines], dim=1)
    images = warp(images, place)
    seen = []
    for channel, machine in enumerate(machines):
        one = images[:, channel : channel + 1]
        blurred = along_axes(one, resolution(machine, one.shape)).clamp(min=0)
        clean = blurred * field(machine, blurred.shape[2:], generator, blurred.device)
        sigma = machine.noise * float(clean[mask].mean())
        complex_noise = sigma * noise(machine, clean.shape[2:], generator, clean.device)
        noisy = torch.hypot(clean + complex_noise[:, :1], complex_noise[:, 1:])
        seen.append(_scaled(noisy, clean, mask))
    return mask, tuple(seen)


def _contrast(anatomy: Anatomy, machine: Scanner, subject: int, texture: Tensor, lesions: Tensor) -> Tensor:
    """Signal of every voxel of an anatomy; (1, 1, H, W, D)."""
    own = torch.Generator().manual_seed(subject)  # the same subject at every scanner
    properties = relaxation(machine.tesla, own)
    signal = signals(machine, properties).to(texture.device)
    slower = signals(machine, properties * torch.tensor([[1.05], [1.05], [1.01]])).to(texture.device)
    slope = (slower - signal) / 0.05  # of the signal in the logarithm of the relaxation times
    share = anatomy.share
    first, second = anatomy.first.int(), anatomy.second.int()
    image = share * signal[first] + (1 - share) * signal[second]
    image = image + texture * (share * slope[first] + (1 - share) * slope[second])
    # what a real scan had beyond its mixture goes with the contrast of grey and white matter
    image = image + anatomy.texture * (signal[Region.WHITE] - signal[Region.CORTEX])
    image = image + lesions * (signal[Region.LESION] - image)
    return image.clamp(min=0)[None, None]


def _texture(anatomy: Anatomy, generator: torch.Generator) -> Tensor:
    """Relative change of the relaxation times inside the tissues, slow and fine; (H, W, D)."""
    shape = anatomy.first.shape
    device = anatomy.first.device
    total = torch.zeros(1, 1, *shape, device=device)
    for largest, cells in ((0.06, (9, 12, 12)), (0.05, (36, 46, 46))):
        size = largest * float(torch.rand((), generator=generator))
        coarse = (size * torch.randn(1, 1, *cells, generator=generator)).to(device)
        total += torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    return total[0, 0]


def _scaled(noisy: Tensor, clean: Tensor, mask: Tensor) -> SimulatedScan:
    """Scale a scan as preprocessing does; its clean version by the same line."""
    values = noisy[mask]
    step = max(1, len(values) // 200_000)
    low, high = torch.quantile(values[::step], torch.tensor([0.01, 0.99], device=values.device))
    slope = 2 * LIMIT / (high - low).clamp(min=1e-6)
    image, without = (torch.where(mask, (v - low) * slope - LIMIT, BACKGROUND) for v in (noisy, clean))
    return SimulatedScan(image, without)
