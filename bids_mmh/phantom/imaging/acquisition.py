"""Sites: scanners and their protocols, drawn from the seed and the number of the site."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bids_mmh.phantom.imaging.signals import (
    InversionRecoveryGradientEcho,
    PulseSequence,
    SpinEcho,
    SpoiledGradientEcho,
)


@dataclass(frozen=True)
class Protocol:
    """How a site acquires one sequence.

    Attributes:
        sequence: Pulse sequence.
        voxel: Voxel size along right, anterior, superior in mm.
        blur: Standard deviation of the point-spread function in voxels.
        orientation: Axis codes of the file, e.g. ``PSR``.
        noise: Standard deviation of the noise relative to the signal of white matter.
        brightness: Intensity of white matter in the file.
    """

    sequence: PulseSequence
    voxel: tuple[float, float, float]
    blur: float
    orientation: str
    noise: float
    brightness: float


@dataclass(frozen=True)
class Site:
    """One scanner.

    Attributes:
        name: Alphanumeric, e.g. ``site01``.
        manufacturer: For the sidecar.
        field_strength: 1.5 or 3.0 tesla.
        bias: Strength of the receive field (standard deviation of its logarithm).
        bias_seed: Seed of the site's own part of the field.
        obliquity: Tilt of the slices in degrees about x, y, z.
        dtype: Data type of its files.
        protocols: By BIDS suffix.
    """

    name: str
    manufacturer: str
    field_strength: float
    bias: float
    bias_seed: tuple[int, ...]
    obliquity: tuple[float, float, float]
    dtype: str
    protocols: Mapping[str, Protocol]


_ORIENTATIONS = {"T1w": ("RAS", "PSR", "LAS", "LPS", "PIR"), "T2w": ("RAS", "LPS", "LAS", "LPI", "RAS")}
_DTYPES = ("int16", "uint16", "float32", "int16")
_MANUFACTURERS = ("Siemens", "Philips", "GE")
_T2W_THICKNESS = (1.0, 3.0, 1.5, 2.0)


def _t1w_sequence(rng: np.random.Generator, number: int) -> PulseSequence:
    """Inversion recovery at two sites of three, a plain spoiled gradient echo at the third."""
    if number % 3 == 1:
        return SpoiledGradientEcho(
            repetition_time=float(rng.uniform(9, 25)),
            echo_time=float(rng.uniform(2, 5)),
            flip_angle=float(rng.uniform(16, 30)),
        )
    return InversionRecoveryGradientEcho(
        repetition_time=float(rng.uniform(1900, 2500)),
        inversion_time=float(rng.uniform(800, 1100)),
        echo_spacing=float(rng.uniform(5.5, 7.5)),
        echo_time=float(rng.uniform(2, 4.5)),
        flip_angle=float(rng.uniform(7, 12)),
        train_length=int(rng.integers(150, 193)),
    )


def draw_site(seed: int, number: int) -> Site:
    """Draw the scanner and the protocols of a site.

    Args:
        seed: Random seed of the dataset.
        number: Number of the site, from 0.

    Returns:
        The site; it does not depend on how many sites or subjects there are.

    Examples:
        >>> site = draw_site(seed=0, number=1)
        >>> site.name, site.field_strength, sorted(site.protocols)
        ('site02', 1.5, ['T1w', 'T2w'])
    """
    rng = np.random.default_rng([seed, 2, number])

    def protocol(suffix: str, sequence: PulseSequence, voxel: tuple[float, float, float]) -> Protocol:
        codes = _ORIENTATIONS[suffix]
        return Protocol(
            sequence=sequence,
            voxel=voxel,
            blur=float(rng.uniform(0.30, 0.55)),
            orientation=codes[number % len(codes)],
            noise=float(rng.uniform(0.02, 0.06)),
            brightness=float(np.exp(rng.uniform(np.log(150), np.log(2200)))),
        )

    in_plane = float(rng.choice([0.94, 1.0, 1.05]))
    sagittal = (float(rng.choice([1.0, 1.1, 1.2])), in_plane, in_plane)
    axial = (in_plane, in_plane, _T2W_THICKNESS[number % len(_T2W_THICKNESS)])
    t2w = SpinEcho(repetition_time=float(rng.uniform(3000, 6500)), echo_time=float(rng.uniform(75, 115)))
    protocols = {
        "T1w": protocol("T1w", _t1w_sequence(rng, number), sagittal),
        "T2w": protocol("T2w", t2w, axial),
    }
    tilt = rng.uniform(-7, 7, size=3) * (number % 2)
    return Site(
        name=f"site{number + 1:02d}",
        manufacturer=_MANUFACTURERS[number % len(_MANUFACTURERS)],
        field_strength=1.5 if number % 3 == 1 else 3.0,
        bias=float(rng.uniform(0.08, 0.25)),
        bias_seed=(seed, 3, number),
        obliquity=(float(tilt[0]), float(tilt[1]), float(tilt[2])),
        dtype=_DTYPES[number % len(_DTYPES)],
        protocols=protocols,
    )


def reference_site() -> Site:
    """Define the reference scanner: 3 T, 1 mm, without noise or bias field.

    Returns:
        The site that the ground-truth images of every head are simulated at.
    """

    def protocol(sequence: PulseSequence) -> Protocol:
        return Protocol(
            sequence=sequence, voxel=(1, 1, 1), blur=0, orientation="RAS", noise=0, brightness=1000
        )

    mprage = InversionRecoveryGradientEcho(
        repetition_time=2300,
        inversion_time=900,
        echo_spacing=7.0,
        echo_time=3.0,
        flip_angle=9,
        train_length=160,
    )
    return Site(
        name="reference",
        manufacturer="Siemens",
        field_strength=3.0,
        bias=0,
        bias_seed=(0,),
        obliquity=(0, 0, 0),
        dtype="float32",
        protocols={"T1w": protocol(mprage), "T2w": protocol(SpinEcho(repetition_time=5000, echo_time=95))},
    )
