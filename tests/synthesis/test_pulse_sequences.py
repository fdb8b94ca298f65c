"""Signal equations against the phantom's, written apart, and magnetisation followed step by step."""

import math

import pytest
import torch

from bids_mmh.phantom.imaging import signals as phantom
from bids_mmh.phantom.imaging.relaxation import Relaxation
from bids_mmh.synthesis.pulse_sequences import InversionRecovery, SpoiledGradientEcho, TurboSpinEcho

TISSUES = [(850.0, 70.0, 0.7), (1400.0, 92.0, 0.84), (4200.0, 1800.0, 1.0)]
PROPERTIES = torch.tensor(TISSUES).T


def followed(seq, t1):
    """Longitudinal magnetisation at the centre of k-space, excitation by excitation, over many cycles."""
    magnetisation = 1.0
    for _ in range(20):
        magnetisation *= -seq.efficiency
        relax = lambda m, time: 1 - (1 - m) * math.exp(-time / t1)  # noqa: E731
        magnetisation = relax(magnetisation, seq.inversion - seq.echoes // 2 * seq.spacing)
        for echo in range(seq.echoes):
            if echo == seq.echoes // 2:
                centre = magnetisation
            magnetisation = relax(magnetisation * math.cos(seq.flip), seq.spacing)
        rest = seq.repetition - seq.inversion - (seq.echoes - seq.echoes // 2) * seq.spacing
        magnetisation = relax(magnetisation, rest)
    return centre


def test_inversion_recovery_is_the_steady_state():
    seq = InversionRecovery(2300, 900, 7, 160, math.radians(9), 0.95, 3)
    for (t1, t2, density), signal in zip(TISSUES, seq(PROPERTIES), strict=True):
        expected = density * abs(followed(seq, t1)) * math.sin(seq.flip) * math.exp(-3 / t2)
        assert float(signal) == pytest.approx(expected, rel=1e-3)


def test_gradient_and_spin_echoes_agree_with_the_phantom():
    spoiled = SpoiledGradientEcho(20, 4, math.radians(25))(PROPERTIES)
    spin = TurboSpinEcho(5000, 95, 0, 0)(PROPERTIES)
    for place, tissue in enumerate(Relaxation(*values) for values in TISSUES):
        assert float(spoiled[place]) == pytest.approx(
            phantom.SpoiledGradientEcho(20, 4, 25).signal(tissue), rel=1e-4
        )
        assert float(spin[place]) == pytest.approx(phantom.SpinEcho(5000, 95).signal(tissue), rel=1e-4)


def test_magnetisation_transfer_takes_most_from_white_matter():
    without, with_it = (TurboSpinEcho(5000, 95, 200, share)(PROPERTIES) for share in (0.0, 0.2))
    loss = 1 - with_it / without
    assert loss[0] > loss[1] > loss[2] == 0
