"""Travelling subjects that no model was trained on: held-out heads at six scanners of another physics.

Nothing here is shared with the training generator (:mod:`bids_mmh.synthesis`) but the label maps' format:
signals follow the phantom's equations and relaxation times with regional factors of their own, fields are
polynomials, resolution is cut in k-space, and noise is Rician. Scans lie on the model's grid with true
alignment and true masks, so that what is measured is the model alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.imaging.relaxation import Relaxation, Tissue, relaxation
from bids_mmh.phantom.imaging.signals import (
    InversionRecoveryGradientEcho,
    PulseSequence,
    SpinEcho,
    SpoiledGradientEcho,
)
from bids_mmh.preprocess.scaling import intensity_scaling
from bids_mmh.synthesis.regions import COUNT, Region

HEADS = ("head01", "head12", "head20")
TARGET = "C"
Float = NDArray[np.float32]

# Tissue of the phantom, and factors on its T1, T2 and proton density
_REGIONS: Mapping[Region, tuple[Tissue, float, float, float]] = {
    Region.CSF: (Tissue.CSF, 0.92, 0.8, 0.97),
    Region.VENTRICLE: (Tissue.CSF, 1.0, 1.0, 1.0),
    Region.CHOROID: (Tissue.CSF, 0.5, 0.15, 0.95),
    Region.CORTEX: (Tissue.CORTICAL_GREY_MATTER, 1.0, 1.0, 1.0),
    Region.CEREBELLAR_CORTEX: (Tissue.CORTICAL_GREY_MATTER, 0.97, 0.98, 1.0),
    Region.HIPPOCAMPUS: (Tissue.CORTICAL_GREY_MATTER, 1.02, 1.05, 1.01),
    Region.AMYGDALA: (Tissue.CORTICAL_GREY_MATTER, 1.01, 1.03, 1.01),
    Region.CAUDATE: (Tissue.DEEP_GREY_MATTER, 1.10, 0.98, 1.03),
    Region.PUTAMEN: (Tissue.DEEP_GREY_MATTER, 1.05, 0.92, 1.02),
    Region.ACCUMBENS: (Tissue.DEEP_GREY_MATTER, 1.12, 1.0, 1.03),
    Region.PALLIDUM: (Tissue.DEEP_GREY_MATTER, 0.80, 0.70, 0.92),
    Region.THALAMUS: (Tissue.DEEP_GREY_MATTER, 0.93, 0.97, 0.97),
    Region.VENTRAL_DC: (Tissue.WHITE_MATTER, 1.10, 0.92, 1.03),
    Region.BRAIN_STEM: (Tissue.WHITE_MATTER, 1.07, 1.05, 1.03),
    Region.WHITE: (Tissue.WHITE_MATTER, 1.0, 1.0, 1.0),
    Region.CEREBELLAR_WHITE: (Tissue.WHITE_MATTER, 1.03, 1.03, 1.01),
    Region.LESION: (Tissue.CORTICAL_GREY_MATTER, 1.0, 1.5, 1.02),
    Region.VESSEL: (Tissue.CSF, 0.4, 0.05, 0.9),
}


@dataclass(frozen=True)
class Acquisition:
    """How a scanner takes one sequence: pulse sequence, voxel size (mm), noise (of white matter's signal)."""

    pulse: PulseSequence
    voxel: tuple[float, float, float]
    noise: float


@dataclass(frozen=True)
class Scanner:
    """Field strength (T), strength of what a bias correction leaves, and the two protocols."""

    tesla: float
    field: float
    t1w: Acquisition
    t2w: Acquisition


def _mprage(tr: float, ti: float, flip: float, train: int = 176, te: float = 3.0) -> PulseSequence:
    return InversionRecoveryGradientEcho(tr, ti, 7.0, te, flip, train)


SCANNERS: Mapping[str, Scanner] = {
    "A": Scanner(1.5, 0.08, Acquisition(SpoiledGradientEcho(22, 9.2, 30), (1.2, 0.94, 0.94), 0.02),
                 Acquisition(SpinEcho(4200, 88), (0.9, 0.9, 3.0), 0.02)),
    "B": Scanner(3.0, 0.10, Acquisition(_mprage(2000, 880, 8), (1.0, 1.0, 1.0), 0.018),
                 Acquisition(SpinEcho(3200, 130), (1.0, 1.0, 1.0), 0.025)),
    "C": Scanner(3.0, 0.08, Acquisition(_mprage(2300, 900, 9), (1.0, 1.0, 1.0), 0.015),
                 Acquisition(SpinEcho(5500, 96), (1.0, 1.0, 1.5), 0.02)),
    "D": Scanner(1.5, 0.06, Acquisition(_mprage(2730, 1000, 7, 160, 3.9), (1.2, 1.25, 1.25), 0.025),
                 Acquisition(SpinEcho(9000, 125), (1.1, 1.1, 2.0), 0.02)),
    "E": Scanner(3.0, 0.14, Acquisition(_mprage(1900, 1100, 12, 224), (0.9, 0.9, 0.9), 0.022),
                 Acquisition(SpinEcho(2600, 75), (0.8, 0.8, 4.0), 0.015)),
    "F": Scanner(3.0, 0.11, Acquisition(SpoiledGradientEcho(9.8, 4.6, 14), (1.0, 1.0, 1.0), 0.016),
                 Acquisition(SpinEcho(2300, 85), (1.0, 1.0, 1.0), 0.03)),
}  # fmt: skip


@dataclass(frozen=True)
class HeldOutScan:
    """One scan on the model's grid.

    Attributes:
        head: name of the anatomy.
        scanner: name of the scanner.
        sequence: ``T1w`` or ``T2w``.
        volume: scaled intensities (144, 184, 184) float32, background −1.
        mask: brain mask, the same for all scans of a head.
        tissue: true labels 0 to 3: background, fluid, grey and white matter.
    """

    head: str
    scanner: str
    sequence: str
    volume: Float
    mask: NDArray[np.bool_]
    tissue: NDArray[np.uint8]


def scan(anatomies: Path, head: str, name: str, sequence: str, session: int = 0) -> HeldOutScan:
    """Take one scan of a prepared anatomy; the same bytes in every run.

    Sessions of a head at a scanner differ in their noise and in a quarter of the field.
    """
    anatomy = np.load(anatomies / "labels" / f"{head}.npz")
    scanner = SCANNERS[name]
    protocol = scanner.t1w if sequence == "T1w" else scanner.t2w
    number = ord(name) * 2 + (sequence == "T2w")
    subject = np.random.default_rng([77, HEADS.index(head) if head in HEADS else sum(head.encode())])
    rng = np.random.default_rng([78, number, sum(head.encode()), *([session] if session else [])])
    person = subject.normal(1, 0.025, (COUNT, 2))  # people differ in T1 and T2, whatever scans them
    signal = np.zeros(COUNT, dtype=np.float32)
    for region, (tissue, t1, t2, pd) in _REGIONS.items():
        own = relaxation(tissue, scanner.tesla)
        factor = person[region]
        signal[region] = protocol.pulse.signal(
            Relaxation(own.t1 * t1 * factor[0], own.t2 * t2 * factor[1], own.pd * pd)
        )
    share = anatomy["share"].astype(np.float32) / 255
    texture = _smooth_noise(subject, share.shape, 12) * 0.02
    image = share * signal[anatomy["first"]] + (1 - share) * signal[anatomy["second"]]
    white = signal[Region.WHITE]
    image = image * (1 + texture * np.sign(signal[Region.WHITE] - signal[Region.CORTEX]))
    image = _acquired(image, protocol.voxel)
    image = image * _field(np.random.default_rng([79, number]), rng, scanner)
    sigma = protocol.noise * (white if sequence == "T1w" else signal[Region.CORTEX])
    # voxels smaller than 1 mm are averaged, larger ones interpolated, on the way to the grid
    noise = _acquired(
        rng.standard_normal((2, *image.shape), dtype=np.float32), [max(v, 1.0) for v in protocol.voxel]
    )
    noise *= np.float32(sigma) / noise.std()
    image = np.hypot(image + noise[0], noise[1])
    mask = anatomy["mask"]
    slope, intercept = intensity_scaling(image[mask])
    volume = np.where(mask, image * np.float32(slope) + np.float32(intercept), np.float32(-1))
    return HeldOutScan(head, name, sequence, volume.astype(np.float32), mask, _tissue(anatomy))


def _tissue(anatomy: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
    table = np.zeros(COUNT, dtype=np.uint8)
    for region, (tissue, *_) in _REGIONS.items():
        table[region] = {Tissue.CSF: 1, Tissue.WHITE_MATTER: 3}.get(tissue, 2)
    labels = np.where(np.asarray(anatomy["share"]) >= 128, anatomy["first"], anatomy["second"])
    return np.where(anatomy["mask"], table[labels], 0).astype(np.uint8)


def _acquired(image: Float, voxel: "tuple[float, ...] | list[float]") -> Float:
    """Cut k-space where a voxel size does, softened by a Tukey window as scanners do; last three axes."""
    for axis, size in zip((-3, -2, -1), voxel, strict=True):
        frequency = np.abs(np.fft.rfftfreq(image.shape[axis]))  # cycles per mm
        edge = 0.5 / size
        taper = np.clip((edge * 1.1 - frequency) / (0.35 * edge), 0, 1)
        window = (0.5 - 0.5 * np.cos(np.pi * taper)).astype(np.float32)
        shape = [1] * image.ndim
        shape[axis] = -1
        image = np.fft.irfft(
            np.fft.rfft(image, axis=axis) * window.reshape(shape), image.shape[axis], axis=axis
        )
    return np.maximum(image, 0).astype(np.float32) if image.ndim == 3 else image.astype(np.float32)


def _field(site: np.random.Generator, session: np.random.Generator, scanner: Scanner) -> Float:
    """A polynomial of third order: three quarters of it the scanner's own, a quarter the session's."""
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in (144, 184, 184)]
    x, y, z = np.ix_(*axes)
    terms = [x, y, z, x * x, y * y, z * z, x * y, x * z, y * z, x**3, y**3, z**3, x * y * z]
    weights = 0.75 * site.normal(size=len(terms)) + 0.25 * session.normal(size=len(terms))
    total = sum(np.float32(w) * t for w, t in zip(weights, terms, strict=True))
    total = total - total.mean()
    return np.exp(np.float32(scanner.field) * total / total.std()).astype(np.float32)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Float:
    from scipy.ndimage import gaussian_filter, zoom

    coarse = gaussian_filter(rng.standard_normal([n // 4 for n in shape]), sigma / 4)
    fine = zoom(coarse / coarse.std(), 4, order=1)
    return fine.astype(np.float32)
