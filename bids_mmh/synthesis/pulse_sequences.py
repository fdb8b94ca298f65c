"""Signal equations over whole regions at once. Times in ms, angles in radians (Brown et al. 2014)."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class PulseSequence(Protocol):
    """Gives regions with T1, T2 and proton density, (3, N), their signals (N,)."""

    def __call__(self, properties: Tensor) -> Tensor:
        """Signal of every region."""


@dataclass(frozen=True)
class InversionRecovery:
    """Gradient echoes after an inversion pulse (MPRAGE, IR-SPGR), closed to the steady state.

    Attributes:
        repetition: from one inversion to the next.
        inversion: to the centre of k-space.
        spacing: between excitations.
        echoes: excitations in a train, half of them before the centre of k-space.
        flip: of the excitations.
        efficiency: of the inversion; 1 turns all magnetisation over.
        echo_time: TE.
    """

    repetition: float
    inversion: float
    spacing: float
    echoes: int
    flip: float
    efficiency: float
    echo_time: float

    def __call__(self, properties: Tensor) -> Tensor:
        """Magnitude of the signal at the centre of k-space."""
        t1, t2, density = properties
        cos, sin = torch.cos(torch.tensor(self.flip)), torch.sin(torch.tensor(self.flip))
        shrink = cos * torch.exp(-self.spacing / t1)
        settled = (1 - torch.exp(-self.spacing / t1)) / (1 - shrink)
        half = self.echoes // 2
        before = max(self.inversion - half * self.spacing, 5.0)
        after = max(self.repetition - before - self.echoes * self.spacing, 0.0)

        def cycle(start: Tensor) -> tuple[Tensor, Tensor]:
            """Magnetisation at the centre and at the end of a cycle that ``start`` enters."""
            inverted = -self.efficiency * start
            relaxed = 1 - (1 - inverted) * torch.exp(-before / t1)
            centre = settled + (relaxed - settled) * shrink**half
            last = settled + (relaxed - settled) * shrink**self.echoes
            return centre, 1 - (1 - last) * torch.exp(-after / t1)

        zero, one = cycle(torch.zeros_like(t1))[1], cycle(torch.ones_like(t1))[1]
        centre, _ = cycle(zero / (1 - (one - zero)))  # the fixed point of an affine map
        return density * centre.abs() * sin * torch.exp(-self.echo_time / t2)


@dataclass(frozen=True)
class SpoiledGradientEcho:
    """SPGR, FLASH in the steady state: TR, TE and flip angle."""

    repetition: float
    echo_time: float
    flip: float

    def __call__(self, properties: Tensor) -> Tensor:
        """Ernst's equation."""
        t1, t2, density = properties
        decay = torch.exp(-self.repetition / t1)
        cos, sin = torch.cos(torch.tensor(self.flip)), torch.sin(torch.tensor(self.flip))
        return density * sin * (1 - decay) / (1 - cos * decay) * torch.exp(-self.echo_time / t2)


@dataclass(frozen=True)
class TurboSpinEcho:
    """TSE, and SPACE by its effective echo time.

    Attributes:
        repetition: TR.
        echo_time: effective TE.
        train: length of the echo train, which the recovery lacks.
        transfer: signal that magnetisation transfer takes from white matter, relative; grey loses half of it.
    """

    repetition: float
    echo_time: float
    train: float
    transfer: float

    def __call__(self, properties: Tensor) -> Tensor:
        """Saturation recovery and T2 decay."""
        t1, t2, density = properties
        recovery = 1 - torch.exp(-(self.repetition - self.train) / t1)
        bound = ((1.0 - density) / 0.3).clamp(0, 1)  # macromolecules fill what water does not
        return density * (1 - self.transfer * bound) * recovery * torch.exp(-self.echo_time / t2)
