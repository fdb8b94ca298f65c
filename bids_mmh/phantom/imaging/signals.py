"""Signal equations of the pulse sequences. All times in ms, angles in degrees."""

from dataclasses import dataclass, replace
from math import cos, exp, radians, sin
from typing import Protocol

from bids_mmh.phantom.imaging.relaxation import Relaxation


class PulseSequence(Protocol):
    """A pulse sequence: anything that gives a tissue a signal."""

    def signal(self, tissue: Relaxation) -> float:
        """Compute the signal of a tissue.

        Args:
            tissue: Relaxation times in ms and proton density.

        Returns:
            Noise-free signal, non-negative, in units of the equilibrium magnetisation.
        """


@dataclass(frozen=True)
class SpoiledGradientEcho:
    """Spoiled gradient echo in its steady state (Ernst & Anderson 1966).

    Attributes:
        repetition_time: TR in ms.
        echo_time: TE in ms.
        flip_angle: Degrees.
    """

    repetition_time: float
    echo_time: float
    flip_angle: float

    def signal(self, tissue: Relaxation) -> float:
        """Compute ``PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE / T2)``.

        Args:
            tissue: Relaxation times in ms and proton density.

        Returns:
            Noise-free signal in units of the equilibrium magnetisation.
        """
        e1 = exp(-self.repetition_time / tissue.t1)
        alpha = radians(self.flip_angle)
        steady = sin(alpha) * (1 - e1) / (1 - cos(alpha) * e1)
        return tissue.pd * steady * exp(-self.echo_time / tissue.t2)


@dataclass(frozen=True)
class InversionRecoveryGradientEcho:
    """MPRAGE: inversion, a train of spoiled gradient echoes, recovery, repeated.

    The magnetisation is followed through one cycle and closed to its steady state; the signal is that of
    the echo at the centre of the train (Mugler & Brookeman 1990).

    Attributes:
        repetition_time: From inversion to inversion, ms.
        inversion_time: From inversion to the centre of the train, ms.
        echo_spacing: Between excitations of the train, ms.
        echo_time: TE in ms.
        flip_angle: Of the excitations, degrees.
        train_length: Number of excitations.
    """

    repetition_time: float
    inversion_time: float
    echo_spacing: float
    echo_time: float
    flip_angle: float
    train_length: int

    def signal(self, tissue: Relaxation) -> float:
        """Compute the magnitude of the signal at the centre of the echo train.

        Args:
            tissue: Relaxation times in ms and proton density.

        Returns:
            Noise-free signal in units of the equilibrium magnetisation.
        """
        alpha = radians(self.flip_angle)
        half = self.train_length / 2
        before = self.inversion_time - half * self.echo_spacing
        after = self.repetition_time - self.inversion_time - half * self.echo_spacing
        e1 = exp(-self.echo_spacing / tissue.t1)
        driven = (1 - e1) / (1 - cos(alpha) * e1)
        decay = (cos(alpha) * e1) ** half
        rest, wait = exp(-after / tissue.t1), exp(-before / tissue.t1)

        def centre_of_train(start: float) -> float:
            """Mz at the centre of the train for Mz = start just before the inversion."""
            return driven + (1 - (1 + start) * wait - driven) * decay

        def end_of_cycle(start: float) -> float:
            return 1 - (1 - driven - (centre_of_train(start) - driven) * decay) * rest

        # One cycle is an affine map of Mz; its fixed point is the steady state.
        offset = end_of_cycle(0.0)
        steady = offset / (1 - (end_of_cycle(1.0) - offset))
        return tissue.pd * abs(centre_of_train(steady)) * sin(alpha) * exp(-self.echo_time / tissue.t2)


@dataclass(frozen=True)
class SpinEcho:
    """Spin echo (or a fast spin echo with its effective echo time).

    Attributes:
        repetition_time: TR in ms.
        echo_time: TE in ms.
    """

    repetition_time: float
    echo_time: float

    def signal(self, tissue: Relaxation) -> float:
        """Compute ``PD (1 - exp(-TR / T1)) exp(-TE / T2)``.

        Args:
            tissue: Relaxation times in ms and proton density.

        Returns:
            Noise-free signal in units of the equilibrium magnetisation.

        Examples:
            >>> from bids_mmh.phantom.imaging.relaxation import Tissue, relaxation
            >>> t2w = SpinEcho(repetition_time=5000, echo_time=95)
            >>> csf, white = relaxation(Tissue.CSF, 3.0), relaxation(Tissue.WHITE_MATTER, 3.0)
            >>> round(t2w.signal(csf), 2), round(t2w.signal(white), 2)
            (0.66, 0.18)
        """
        saturation = 1 - exp(-self.repetition_time / tissue.t1)
        return tissue.pd * saturation * exp(-self.echo_time / tissue.t2)


def sensitivity(sequence: PulseSequence, tissue: Relaxation, step: float = 0.05) -> float:
    """Compute how the signal changes with the relaxation times, by central differences.

    Args:
        sequence: Pulse sequence.
        tissue: Relaxation times in ms and proton density.
        step: Relative change of T1 and T2 in either direction.

    Returns:
        Change of signal per unit relative change of both T1 and T2.
    """
    up = replace(tissue, t1=tissue.t1 * (1 + step), t2=tissue.t2 * (1 + step))
    down = replace(tissue, t1=tissue.t1 * (1 - step), t2=tissue.t2 * (1 - step))
    return (sequence.signal(up) - sequence.signal(down)) / (2 * step)
