"""Random scanners: protocol, resolution, noise, and the receive field that a bias correction leaves."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.method.linear import along_axes, cut_frequencies, gaussian, slices
from bids_mmh.synthesis.pulse_sequences import (
    InversionRecovery,
    PulseSequence,
    SpoiledGradientEcho,
    TurboSpinEcho,
)
from bids_mmh.synthesis.regions import COUNT, Region

FIELD_CELLS = (5, 6, 6)  # of the random part of a field, over the grid


@dataclass(frozen=True)
class Scanner:
    """One scanner and its protocol for one sequence.

    Attributes:
        sequence: BIDS suffix.
        tesla: field strength.
        pulse: signal equation.
        quirk: (COUNT,) factor on each region's signal: what the equation does not know.
        gamma: exponent on signals relative to white matter: another kind of what it does not know.
        voxel: voxel size in mm along each axis of the grid.
        sharpness: width of a Gaussian point-spread function in voxels of the scanner (standard deviation).
        ringing: softness of a cut in k-space instead of that function, or None.
        slice_offset: place of the slices, where they are thick, in slices.
        noise: standard deviation relative to the mean signal of grey and white matter.
        field: (1, 1, *FIELD_CELLS) the scanner's own part of the logarithm of its field.
        field_session: standard deviation of the part of each session.
    """

    sequence: str
    tesla: float
    pulse: PulseSequence
    quirk: Tensor
    gamma: float
    voxel: tuple[float, float, float]
    sharpness: float
    ringing: float | None
    slice_offset: float
    noise: float
    field: Tensor
    field_session: float


class Draw:
    """Random numbers by what they mean, from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        """Between two bounds."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def log_uniform(self, low: float, high: float) -> float:
        """Between two bounds, evenly on a logarithmic scale."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def chance(self, probability: float) -> bool:
        """True so often."""
        return self.uniform(0, 1) < probability

    def choice(self, *options: float) -> float:
        """One of some values."""
        return options[int(torch.randint(len(options), (), generator=self.generator))]

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator)


def draw_scanner(sequence: str, generator: torch.Generator) -> Scanner:
    """Draw a scanner for ``T1w`` or ``T2w``."""
    draw = Draw(generator)
    tesla = draw.choice(1.5, 1.5, 3.0, 3.0, 3.0, 7.0)
    quirk = torch.exp(draw.uniform(0.0, 0.05) * draw.normal(COUNT))
    unknown = draw.chance(0.3)
    strength = draw.log_uniform(0.01, 0.12)
    return Scanner(
        sequence=sequence,
        tesla=tesla,
        pulse=_t1w(draw, tesla) if sequence == "T1w" else _t2w(draw),
        quirk=quirk,
        gamma=draw.uniform(0.7, 1.4) if unknown else 1.0,
        voxel=_voxel(draw, thick=0.15 if sequence == "T1w" else 0.5),
        sharpness=draw.uniform(0.25, 0.5),
        ringing=draw.uniform(0.05, 0.5) if draw.chance(0.4) else None,
        slice_offset=draw.uniform(0, 1),
        noise=draw.log_uniform(0.004, 0.06),
        field=strength * draw.normal(1, 1, *FIELD_CELLS),
        field_session=strength * draw.uniform(0.2, 0.6),
    )


def _t1w(draw: Draw, tesla: float) -> PulseSequence:
    if draw.chance(0.3):
        repetition = draw.log_uniform(7, 30)
        return SpoiledGradientEcho(repetition, draw.uniform(2, 8), math.radians(draw.uniform(15, 35)))
    fast = draw.chance(0.25)  # IR-SPGR: no long rest
    spacing = draw.uniform(5.5, 9.5)
    echoes = int(draw.uniform(100, 240))
    inversion = draw.uniform(350, 600) if fast else draw.uniform(700, 1150) * (1.1 if tesla > 4 else 1.0)
    inversion = max(inversion, echoes // 2 * spacing + 20 if not fast else 350)
    return InversionRecovery(
        repetition=inversion
        + echoes / 2 * spacing
        + (draw.uniform(100, 500) if fast else draw.uniform(300, 1300)),
        inversion=inversion,
        spacing=spacing,
        echoes=echoes,
        flip=math.radians(draw.uniform(5, 13)),
        efficiency=draw.uniform(0.85, 1.0),
        echo_time=draw.uniform(1.7, 5),
    )


def _t2w(draw: Draw) -> PulseSequence:
    train = draw.uniform(80, 500)
    return TurboSpinEcho(
        draw.log_uniform(2400, 10_000), draw.uniform(70, 140), train, draw.uniform(0.0, 0.25)
    )


def _voxel(draw: Draw, thick: float) -> tuple[float, float, float]:
    fine = draw.uniform(0.7, 1.25)
    size = [fine, fine, draw.uniform(0.8, 1.3)]
    if draw.chance(thick):
        size[2] = draw.uniform(1.5, 4.5)
    axis = int(draw.choice(0, 1, 2, 2, 2))  # slices are most often axial
    size[2], size[axis] = size[axis], size[2]
    return size[0], size[1], size[2]


def signals(scanner: Scanner, properties: Tensor) -> Tensor:
    """Signal of every region (COUNT,), relative to that of white matter."""
    signal = scanner.pulse(properties) * scanner.quirk
    return (signal / signal[Region.WHITE].clamp(min=1e-6)).clamp(min=0) ** scanner.gamma


def resolution(scanner: Scanner, shape: torch.Size) -> list[Tensor | None]:
    """The scanner's point-spread function along each axis of the grid, as matrices."""
    found: list[Tensor | None] = []
    for side, size in zip(shape[-3:], scanner.voxel, strict=True):
        if size > 1.4:
            found.append(slices(side, size, scanner.slice_offset))
        elif scanner.ringing is not None:
            found.append(cut_frequencies(side, max(size, 1.0), scanner.ringing))
        else:
            found.append(gaussian(side, scanner.sharpness * size))
    return found


def field(scanner: Scanner, shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    """Multiplicative field of one session; (1, 1, *shape), mean about 1."""
    own = torch.randn((1, 1, *FIELD_CELLS), generator=generator) * scanner.field_session
    log = F.interpolate(
        (scanner.field + own).to(device), size=(18, 23, 23), mode="trilinear", align_corners=True
    )
    log = along_axes(log, [gaussian(side, 1.5) for side in log.shape[2:]])
    return F.interpolate(log, size=shape, mode="trilinear", align_corners=False).exp()


def noise(scanner: Scanner, shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    """Complex noise of standard deviation 1 as it lies on the grid, (1, 2, *shape).

    Voxels of the scanner are interpolated on to the grid: noise of large ones is smooth along their long
    sides.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    there = torch.Generator(device).manual_seed(seed)
    values = torch.randn((1, 2, *shape), generator=there, device=device)
    sides = zip(shape, scanner.voxel, strict=True)
    values = along_axes(values, [gaussian(side, 0.42 * max(0.0, size - 0.6)) for side, size in sides])
    return values / values.std()
