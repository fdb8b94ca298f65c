"""From the metrics of single subjects to those of the methods: means, tests, sites and ages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_mmh.evaluation.controls.combat import COMBAT, combat_volumes
from bids_mmh.evaluation.controls.methods import CONTROLS, RAW
from bids_mmh.evaluation.metrics.site_distance import site_distances
from bids_mmh.evaluation.probes.age import AgeCorrelation, AgeError, age_correlation, age_error
from bids_mmh.evaluation.probes.features import FeatureDistances, feature_distances
from bids_mmh.evaluation.probes.site_probe import SiteProbe, site_probe
from bids_mmh.evaluation.probes.volumes import VolumeSummary, summarise_volumes
from bids_mmh.evaluation.regional_volumes import regions
from bids_mmh.evaluation.significance import FEWEST_PAIRS, paired_test
from bids_mmh.evaluation.subject_metrics import HARMONIZED, ScanMetrics, SubjectMetrics

METHODS = (*CONTROLS, COMBAT, HARMONIZED)
"""In the order of the tables; ComBat corrects volumes, so it has no metrics of images."""
SIMILARITY = ("ssim", "psnr", "pcc", "wd")


class MeasuredScan(NamedTuple):
    """One scan of the cohort with its metrics by method.

    ``age`` is in years and ``sex`` is ``F`` or ``M``; None where they are not known.
    """

    name: str
    subject: str
    site: str
    age: float | None
    methods: Mapping[str, ScanMetrics]
    sex: str | None = None


@dataclass(frozen=True)
class Spread:
    """A measure over scans or pairs.

    Attributes:
        mean: Arithmetic mean.
        sd: Standard deviation of the sample; NaN for one value.
        n: Number of values.
        p: Two-sided p of the Wilcoxon signed-rank test against raw; None where it was not possible.
    """

    mean: float
    sd: float
    n: int
    p: float | None = None


@dataclass(frozen=True)
class MethodSummary:
    """Metrics of one method.

    Attributes:
        likeness: ``ssim``, ``psnr``, ``pcc`` and ``wd`` over the pairs; empty where there are none.
        anatomy: ``dice_<tissue>``, ``volume_<tissue>``, ``anatomy`` and ``spread`` over the scans.
        inter_site_wd: Mean Wasserstein distance of histograms between sites; NaN for one site.
        distances: Of the random features between and within sites.
        probe: Site classification; None where it is not possible.
        age: Age regression; None where it is not possible.
        grey_matter: Correlation of the grey-matter ratio with age, raw and by this method, or None.
    """

    likeness: Mapping[str, Spread]
    anatomy: Mapping[str, Spread]
    inter_site_wd: float
    distances: FeatureDistances
    probe: SiteProbe | None
    age: AgeError | None
    grey_matter: AgeCorrelation | None


@dataclass(frozen=True)
class Summary:
    """All methods side by side, and why parts are missing.

    Attributes:
        methods: In the order of the tables.
        volumes: Of the regional grey-matter volumes, in the order of the tables; ComBat is here alone.
        notes: Sentences: how a control was fitted.
        reasons: Sentences: a part that was not possible.
    """

    methods: Mapping[str, MethodSummary]
    volumes: Mapping[str, VolumeSummary]
    notes: tuple[str, ...]
    reasons: tuple[str, ...]


def summarise(
    scans: Sequence[MeasuredScan], subjects: Sequence[SubjectMetrics], methods: Sequence[str] = METHODS
) -> Summary:
    """Set the methods side by side.

    A method that is missing for a scan (a control that could not be fitted) is measured on the others.

    Args:
        scans: All measured scans of one sequence.
        subjects: Their metrics subject by subject, for the pairs.
        methods: Names of the methods, in the order of the tables.

    Returns:
        The summary of every method that has scans.
    """
    pairs = [pair.methods for subject in subjects for pair in subject.pairs]
    reasons: dict[str, None] = {}  # in the order found, each once
    summaries = {}
    for method in methods:
        own = [scan for scan in scans if method in scan.methods]
        if own:
            summaries[method] = _method(method, own, pairs, reasons)
    if pairs and len(pairs) < FEWEST_PAIRS:
        reasons[f"{len(pairs)} pairs are too few for a test against raw: it takes {FEWEST_PAIRS}."] = None
    volumes, notes = _volumes(scans, methods, reasons)
    return Summary(summaries, volumes, notes, tuple(reasons))


def _volumes(
    scans: Sequence[MeasuredScan], methods: Sequence[str], reasons: dict[str, None]
) -> tuple[dict[str, VolumeSummary], tuple[str, ...]]:
    """Probe the regional volumes after each method and after ComBat; the note says how that was fitted."""
    held = regions(_regional(scans, RAW))
    found, notes = {}, []
    for method in methods:
        if method == COMBAT:
            own: Sequence[MeasuredScan] = scans
            volumes, sentence = _combat(scans, _regional(scans, RAW)[:, held])
            if volumes is None:
                reasons[f"ComBat: {sentence}"] = None
                continue
            notes.append(sentence)
        else:
            own = [scan for scan in scans if method in scan.methods]
            if not own:
                continue
            volumes = _regional(own, method)[:, held]
        found[method] = summarise_volumes(
            volumes,
            _regional(own, RAW)[:, held],
            scans=[scan.name for scan in own],
            sites=[scan.site for scan in own],
            subjects=[scan.subject for scan in own],
            ages=[scan.age for scan in own],
        )
    return found, tuple(notes)


def _combat(
    scans: Sequence[MeasuredScan], volumes: NDArray[np.float64]
) -> tuple[NDArray[np.float64] | None, str]:
    """Correct raw volumes, with age and sex as covariates."""
    male = {"F": 0.0, "M": 1.0}
    return combat_volumes(
        volumes,
        [scan.site for scan in scans],
        [scan.subject for scan in scans],
        {"age": [scan.age for scan in scans], "sex": [male.get(scan.sex or "") for scan in scans]},
    )


def _regional(scans: Sequence[MeasuredScan], method: str) -> NDArray[np.float64]:
    return np.array([scan.methods[method].regional_grey_matter for scan in scans])


def _method(
    method: str,
    scans: Sequence[MeasuredScan],
    pairs: Sequence[Mapping[str, object]],
    reasons: dict[str, None],
) -> MethodSummary:
    metrics = [scan.methods[method] for scan in scans]
    sites, subjects = [scan.site for scan in scans], [scan.subject for scan in scans]
    ages = [scan.age for scan in scans]
    features = np.array([one.features for one in metrics])
    probe, probe_sentence = site_probe(features, sites, subjects)
    age, age_sentence = age_error(features, ages, subjects)
    raw = [scan.methods[RAW].grey_matter_ratio for scan in scans]
    grey, grey_sentence = age_correlation(raw, [one.grey_matter_ratio for one in metrics], ages, subjects)
    for result, subject, sentence in (
        (probe, "Site classification", probe_sentence),
        (age, "Age regression", age_sentence),
        (grey, "Grey matter against age", grey_sentence),
    ):
        if result is None and method in (RAW, HARMONIZED):
            reasons.setdefault(f"{subject}: {sentence}")
    return MethodSummary(
        likeness=_similarity(method, pairs),
        anatomy=_anatomy(metrics),
        inter_site_wd=site_distances([one.histogram for one in metrics], sites).inter_site,
        distances=feature_distances(features, sites),
        probe=probe,
        age=age,
        grey_matter=grey,
    )


def _similarity(method: str, pairs: Sequence[Mapping[str, object]]) -> dict[str, Spread]:
    both = [(pair[method], pair[RAW]) for pair in pairs if method in pair]
    if not both:
        return {}
    spreads = {}
    for measure in SIMILARITY:
        own, raw = ([float(getattr(one, measure)) for one in side] for side in zip(*both, strict=True))
        p = None if method == RAW else paired_test(own, raw)[0]
        spreads[measure] = _spread(own, p)
    return spreads


def scan_metrics(metrics: ScanMetrics) -> dict[str, float]:
    """Name the measures of one scan beside its raw version, tissue by tissue.

    Returns:
        ``dice_<tissue>``, ``volume_<tissue>``, ``anatomy`` and ``spread``.
    """
    measures = {f"dice_{tissue}": value for tissue, value in metrics.dice.items()}
    measures |= {f"volume_{tissue}": value for tissue, value in metrics.volume.items()}
    return measures | {"anatomy": metrics.anatomy, "spread": metrics.spread}


def _anatomy(metrics: Sequence[ScanMetrics]) -> dict[str, Spread]:
    measures = [scan_metrics(one) for one in metrics]
    return {name: _spread([one[name] for one in measures]) for name in measures[0]}


def _spread(values: Sequence[float], p: float | None = None) -> Spread:
    finite = bool(np.isfinite(values).all())
    sd = float(np.std(values, ddof=1)) if len(values) > 1 and finite else float("nan")
    return Spread(float(np.mean(values)), sd, len(values), p)
