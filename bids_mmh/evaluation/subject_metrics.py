"""Metrics of one subject's scans of one sequence, as each method leaves them; small enough to keep."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.evaluation.controls.methods import RAW, Fit, apply_controls
from bids_mmh.evaluation.metrics.anatomy import anatomy_preservation
from bids_mmh.evaluation.metrics.overlap import overlap
from bids_mmh.evaluation.metrics.similarity import Similarity, intensity_histogram, similarity
from bids_mmh.evaluation.probes.features import random_features
from bids_mmh.evaluation.regional_volumes import regional_grey_matter
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.evaluation.segmentation import Segmenter
from bids_mmh.evaluation.tissues import grey_matter_ratio

HARMONIZED = "MMH"
"""The method that is evaluated: the scans that the study's model harmonized."""

Versions = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ScanMetrics:
    """One method's version of one scan, by itself and beside the raw version of the same scan.

    Attributes:
        features: Of the frozen random network, shape (512,).
        histogram: Counts of 100 bins over [-1, 1].
        grey_matter_ratio: Share of grey matter in the brain, in [0, 1].
        regional_grey_matter: Grey matter of each block of the box, ml, shape (100,).
        dice: Overlap of each tissue with that of the raw version.
        volume: Volume preservation of each tissue against the raw version.
        anatomy: Anatomy preservation (cosine of the gradients) against the raw version.
        spread: Standard deviation of the intensities in the brain, scaled units.
    """

    features: tuple[float, ...]
    histogram: tuple[int, ...]
    grey_matter_ratio: float
    regional_grey_matter: tuple[float, ...]
    dice: Mapping[str, float]
    volume: Mapping[str, float]
    anatomy: float
    spread: float


@dataclass(frozen=True)
class PairSimilarity:
    """Similarity of two scans of one subject, by method.

    Attributes:
        scan: Name of the scan.
        other: Name of the scan it is compared with.
        methods: Method to similarity.
    """

    scan: str
    other: str
    methods: Mapping[str, Similarity]


@dataclass(frozen=True)
class SubjectMetrics:
    """All metrics of one subject and sequence.

    Attributes:
        scans: Name of the scan to method to metrics.
        pairs: Scans of different sites beside each other.
    """

    scans: Mapping[str, Mapping[str, ScanMetrics]]
    pairs: tuple[PairSimilarity, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold: null stands for the infinite PSNR of equal scans."""
        record = asdict(self)
        for pair in record["pairs"]:
            for likeness in pair["methods"].values():
                likeness["psnr"] = likeness["psnr"] if math.isfinite(likeness["psnr"]) else None
        return record

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "SubjectMetrics":
        """Read what :meth:`to_dict` gave.

        Raises:
            KeyError, TypeError: If it is something else.
        """
        scans = {
            name: {method: ScanMetrics(**metrics) for method, metrics in methods.items()}
            for name, methods in stored["scans"].items()
        }
        pairs = tuple(
            PairSimilarity(
                pair["scan"],
                pair["other"],
                {method: _stored_similarity(likeness) for method, likeness in pair["methods"].items()},
            )
            for pair in stored["pairs"]
        )
        return cls(scans, pairs)


def _stored_similarity(stored: Mapping[str, Any]) -> Similarity:
    return Similarity(**{**stored, "psnr": math.inf if stored["psnr"] is None else stored["psnr"]})


def measure_subject(
    scans: Sequence[ScanArrays],
    pairs: Sequence[tuple[str, str]],
    fit: Fit | None,
    segmenter: Segmenter,
    *,
    raw_target: bool,
) -> SubjectMetrics:
    """Apply every control to one subject's scans and measure all methods.

    Args:
        scans: All of the subject's scans of one sequence.
        pairs: Names of the scans to compare.
        fit: What the controls learnt from other subjects; None leaves out those that need it.
        segmenter: Labels the tissues.
        raw_target: Whether the second scan of a pair is taken raw, as the target of a model; else it is the
            method's own version too.

    Raises:
        BadDataError: If a scan cannot be measured.
    """
    versions = {scan.name: versions_of(scan, fit) for scan in scans}
    return measure_versions(scans, pairs, versions, segmenter, raw_target=raw_target)


def measure_versions(
    scans: Sequence[ScanArrays],
    pairs: Sequence[tuple[str, str]],
    versions: Mapping[str, Versions],
    segmenter: Segmenter,
    *,
    raw_target: bool,
) -> SubjectMetrics:
    """Measure what any methods made of one subject's scans.

    Args:
        scans: All of the subject's scans of one sequence.
        pairs: Names of the scans to compare.
        versions: Name of the scan to method to volume; the raw version is among them, background is -1.
        segmenter: Labels the tissues.
        raw_target: See :func:`measure_subject`.

    Raises:
        BadDataError: If a scan cannot be measured.
    """
    # One call for all: the network is made once.
    features = iter(random_features(volume for own in versions.values() for volume in own.values()))
    metrics = {
        scan.name: dict(_scan_metrics(scan, versions[scan.name], segmenter, features)) for scan in scans
    }
    by_name = {scan.name: scan for scan in scans}
    likeness = tuple(
        _pair(by_name[first], by_name[second], versions, raw_target=raw_target) for first, second in pairs
    )
    return SubjectMetrics(metrics, likeness)


def versions_of(scan: ScanArrays, fit: Fit | None) -> Versions:
    """Every method's version of a harmonized scan, in the order of the tables: raw, controls, the model's."""
    assert scan.harmonized is not None
    return {**apply_controls(scan, fit), HARMONIZED: scan.harmonized}


def _scan_metrics(
    scan: ScanArrays, versions: Versions, segmenter: Segmenter, features: Iterator[NDArray[np.float32]]
) -> Iterator[tuple[str, ScanMetrics]]:
    tissues = segmenter.segment(list(versions.values()), scan.mask)
    raw = tissues[list(versions).index(RAW)]
    for (method, volume), labels, row in zip(versions.items(), tissues, features, strict=False):
        agreement = overlap(raw, labels, segmenter.tissues)
        brain = volume[scan.mask]
        yield (
            method,
            ScanMetrics(
                features=tuple(float(f"{value:.6g}") for value in row),
                histogram=tuple(intensity_histogram(brain).tolist()),
                grey_matter_ratio=grey_matter_ratio(labels),
                regional_grey_matter=regional_grey_matter(labels, scan.spacing),
                dice={name: found.dice for name, found in agreement.items()},
                volume={name: found.volume_preservation for name, found in agreement.items()},
                anatomy=anatomy_preservation(scan.preproc, volume, scan.mask),
                spread=float(brain.std(dtype=np.float64)),
            ),
        )


def _pair(
    first: ScanArrays, second: ScanArrays, versions: Mapping[str, Versions], *, raw_target: bool
) -> PairSimilarity:
    both = first.mask & second.mask
    others = versions[second.name]
    methods = {
        method: similarity(volume, others[RAW if raw_target else method], both)
        for method, volume in versions[first.name].items()
    }
    return PairSimilarity(first.name, second.name, methods)
