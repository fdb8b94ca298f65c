from math import acos, cos, degrees, exp, radians, sin

import pytest

from bids_mmh.phantom.imaging.relaxation import Relaxation
from bids_mmh.phantom.imaging.signals import (
    InversionRecoveryGradientEcho,
    SpinEcho,
    SpoiledGradientEcho,
    sensitivity,
)

TISSUE = Relaxation(t1=900, t2=80, pd=0.8)


def test_gradient_echo_peaks_at_the_ernst_angle():
    ernst = degrees(acos(exp(-20 / TISSUE.t1)))
    signals = [SpoiledGradientEcho(20, 0, ernst * f).signal(TISSUE) for f in (0.9, 1.0, 1.1)]
    assert signals[1] == max(signals)


def test_gradient_echo_after_full_recovery_is_proton_density():
    assert SpoiledGradientEcho(1e6, 0, 90).signal(TISSUE) == pytest.approx(TISSUE.pd)


def test_spin_echo_equation():
    expected = 0.8 * (1 - exp(-1)) * exp(-1)
    assert SpinEcho(repetition_time=900, echo_time=80).signal(TISSUE) == pytest.approx(expected)


def test_inversion_recovery_nulls_at_t1_ln2_without_a_train():
    sequence = InversionRecoveryGradientEcho(1e6, 900 * 0.6931472, 1e-6, 0, 1e-3, 2)
    other = Relaxation(t1=450, t2=80, pd=0.8)
    assert sequence.signal(TISSUE) < 1e-5 * sequence.signal(other)


def test_inversion_recovery_agrees_with_stepping_through_the_pulses():
    sequence = InversionRecoveryGradientEcho(2000, 900, 7, 3, 9, 160)
    before, after = 900 - 80 * 7, 2000 - 900 - 80 * 7
    mz, centre = 1.0, 0.0
    for _ in range(20):
        mz = 1 - (1 + mz) * exp(-before / TISSUE.t1)
        for pulse in range(160):
            centre = mz if pulse == 80 else centre
            mz = 1 - (1 - mz * cos(radians(9))) * exp(-7 / TISSUE.t1)
        mz = 1 - (1 - mz) * exp(-after / TISSUE.t1)
    expected = 0.8 * abs(centre) * sin(radians(9)) * exp(-3 / 80)
    assert sequence.signal(TISSUE) == pytest.approx(expected, rel=1e-6)


def test_sensitivity_of_a_fully_recovered_spin_echo():
    # S = PD exp(-TE / T2), so that dS / d ln T2 = S TE / T2.
    sequence = SpinEcho(repetition_time=1e6, echo_time=40)
    assert sensitivity(sequence, TISSUE, step=1e-3) == pytest.approx(sequence.signal(TISSUE) * 0.5, rel=1e-4)
