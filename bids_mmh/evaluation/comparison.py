"""Measure one method's outputs on the scans of travelling subjects, to set methods side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_mmh.evaluation.metrics.anatomy import anatomy_preservation
from bids_mmh.evaluation.metrics.overlap import overlap
from bids_mmh.evaluation.metrics.similarity import intensity_histogram, similarity
from bids_mmh.evaluation.metrics.site_distance import site_distances
from bids_mmh.evaluation.probes.features import FeatureDistances, feature_distances
from bids_mmh.evaluation.probes.site_probe import SiteProbe, site_probe
from bids_mmh.evaluation.scans import Scan
from bids_mmh.evaluation.tissues import segment_tissues

Outputs = Mapping[str, NDArray[np.float32]]
"""What a method made of each scan, by the scan's name: scaled intensities, background -1, shape (x, y, z)."""


@dataclass(frozen=True)
class PairFigures:
    """One harmonized scan beside the same subject's scan at the target site, and beside its own raw version.

    Attributes:
        ssim: Structural similarity to the scan at the target site, which no method has touched.
        psnr: Peak signal-to-noise ratio against it, dB.
        pcc: Pearson's correlation with it.
        wd: Wasserstein distance to its histogram.
        dice_gm: Overlap of the grey matter with that of the own raw scan.
        dice_wm: Overlap of the white matter.
        volume_gm: Volume preservation of the grey matter against the own raw scan.
        volume_wm: Volume preservation of the white matter.
        anatomy: Anatomy preservation (cosine of the gradients) against the own raw scan.
        spread: Standard deviation of the harmonized brain, scaled units.
    """

    ssim: float
    psnr: float
    pcc: float
    wd: float
    dice_gm: float
    dice_wm: float
    volume_gm: float
    volume_wm: float
    anatomy: float
    spread: float


@dataclass(frozen=True)
class StudyFigures:
    """Figures of all scans of one method together.

    Attributes:
        inter_site_wd: Mean Wasserstein distance of histograms between sites.
        distances: Distances of random features between and within sites.
        probe: Site classification; None where ``probe_sentence`` says that it is not possible.
        probe_sentence: The result or the reason in words.
    """

    inter_site_wd: float
    distances: FeatureDistances
    probe: SiteProbe | None
    probe_sentence: str


def raw_tissues(pairs: Sequence[tuple[Scan, Scan]]) -> dict[str, NDArray[np.uint8]]:
    """Segment the raw scan of each pair's source, once for all methods; by the scan's name."""
    return {scan.name: segment_tissues(scan.preproc, scan.mask) for scan, _ in pairs}


def pair_figures(
    outputs: Outputs,
    pairs: Sequence[tuple[Scan, Scan]],
    tissues: Mapping[str, NDArray[np.uint8]],
) -> list[PairFigures]:
    """Measure a method pair by pair.

    Args:
        outputs: The method's outputs, at least for the source of each pair.
        pairs: From :func:`bids_mmh.evaluation.scans.travelling_pairs`.
        tissues: From :func:`raw_tissues`.

    Returns:
        One record for each pair, in their order.

    Raises:
        BadDataError: If an output does not fit its scan, or is flat or not finite inside the brain.
    """
    return [_pair(outputs[scan.name], scan, target, tissues[scan.name]) for scan, target in pairs]


def _pair(
    output: NDArray[np.float32],
    scan: Scan,
    target: Scan,
    tissues: NDArray[np.uint8],
) -> PairFigures:
    alike = similarity(output, target.preproc, scan.mask & target.mask)
    agreement = overlap(tissues, segment_tissues(output, scan.mask))
    return PairFigures(
        ssim=alike.ssim,
        psnr=alike.psnr,
        pcc=alike.pcc,
        wd=alike.wd,
        dice_gm=agreement["GM"].dice,
        dice_wm=agreement["WM"].dice,
        volume_gm=agreement["GM"].volume_preservation,
        volume_wm=agreement["WM"].volume_preservation,
        anatomy=anatomy_preservation(scan.preproc, output, scan.mask),
        spread=float(output[scan.mask].std(dtype=np.float64)),
    )


def study_figures(outputs: Outputs, scans: Sequence[Scan], features: NDArray[np.float32]) -> StudyFigures:
    """Measure how far a method's outputs are still apart by site.

    Args:
        outputs: The method's outputs for all scans, those at the target site too.
        scans: Scans of one sequence, best of subjects that no method was trained or fitted on.
        features: Of the outputs in the order of the scans, from
            :func:`bids_mmh.evaluation.probes.features.random_features`.

    Returns:
        The figures.
    """
    sites = [scan.site for scan in scans]
    histograms = [intensity_histogram(outputs[scan.name][scan.mask]) for scan in scans]
    probe, sentence = site_probe(features, sites, [scan.subject for scan in scans])
    return StudyFigures(
        inter_site_wd=site_distances(histograms, sites).inter_site,
        distances=feature_distances(features, sites),
        probe=probe,
        probe_sentence=sentence,
    )
