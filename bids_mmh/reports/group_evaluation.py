"""The evaluation on the group page: tables and figures of one sequence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bids_mmh.reports.evaluation_table import PAIR, SCAN, STUDY, EvaluationRow
from bids_mmh.reports.figures import evaluation as draw
from bids_mmh.reports.figures.encode import data_uri, encode
from bids_mmh.reports.figures.evaluation import FeatureMap

SIGNIFICANT = 0.05
SIMILARITY: Mapping[str, tuple[str, str, str]] = {
    "ssim": ("SSIM", ".3f", "higher is better"),
    "psnr": ("PSNR, dB", ".2f", "higher is better"),
    "pcc": ("PCC", ".3f", "higher is better"),
    "wd": ("WD", ".4f", "lower is better"),
}


class Picture(NamedTuple):
    """An encoded figure: WebP or SVG bytes, what it shows in words, and the text below it."""

    image: bytes
    kind: str
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """The figure as the source of an image."""
        return data_uri(self.image, self.kind)


@dataclass(frozen=True, eq=False)
class EvaluationPart:
    """The evaluation of one sequence in one space, in plain values.

    Attributes:
        sequence: Suffix.
        space: Template space.
        target: The site that scans were compared at, or None.
        notes: Sentences on the cohort.
        skipped: Sentences on what is missing, and why.
        rows: All values.
        main: Name of the evaluated method.
        raw: Name of the raw control.
        ages: Participant to age, years.
        maps: Method to feature map.
        map_sites: The site of each scan of the maps.
        map_subjects: The participant of each scan of the maps.
        pictures: Figures of travelling subjects.
    """

    sequence: str
    space: str
    target: str | None
    notes: Sequence[str]
    skipped: Sequence[str]
    rows: Sequence[EvaluationRow] = ()
    main: str = ""
    raw: str = ""
    ages: Mapping[str, float] | None = None
    maps: Mapping[str, FeatureMap] | None = None
    map_sites: Sequence[str] = ()
    map_subjects: Sequence[str] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True, eq=False)
class Block:
    """A question, the table that answers it (a row per method), and figures.

    Attributes:
        key: ``similarity``, ``anatomy``, ``sites``, ``age`` or ``volumes``: the template
            has the text of each.
        title: The question.
        lead: A sentence with the numbers of this study, or empty.
        headings: Headings of the columns.
        lines: Method and its cells.
        pictures: Figures below the table.
    """

    key: str
    title: str
    lead: str
    headings: Sequence[str]
    lines: Sequence[tuple[str, Sequence[str]]]
    pictures: Sequence[Picture]


class _StudyMetrics:
    """Study-level values by method and metric."""

    def __init__(self, rows: Sequence[EvaluationRow]) -> None:
        self.by_name = {(row.method, row.measure): row for row in rows if row.level == STUDY}
        self.methods = list(dict.fromkeys(row.method for row in rows if row.level == STUDY))
        self.metrics = list(dict.fromkeys(row.measure for row in rows if row.level == STUDY))

    def text(self, method: str, measure: str, spec: str) -> str:
        """Mean, standard deviation and star; n/a if there is no value."""
        row = self.by_name.get((method, measure))
        if row is None:
            return "n/a"
        spread = "" if row.sd is None or math.isnan(row.sd) else f" ± {row.sd:{spec}}"
        star = "*" if row.p is not None and row.p < SIGNIFICANT else ""
        return f"{row.value:{spec}}{spread}{star}"

    def value(self, method: str, measure: str) -> float | None:
        """The value, or None."""
        row = self.by_name.get((method, measure))
        return None if row is None else row.value

    def lines(self, measure: str, cells: Callable[[str], Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
        """A line for each method that has a metric."""
        return [(method, cells(method)) for method in self.methods if (method, measure) in self.by_name]


def evaluation_blocks(part: EvaluationPart) -> list[Block]:
    """Arrange the evaluation of one sequence.

    Args:
        part: The evaluation in plain values.

    Returns:
        Blocks in the order of the page; a block without any values is left out.
    """
    metrics = _StudyMetrics(part.rows)
    blocks = (
        _similarity(part, metrics),
        _anatomy(metrics),
        _sites(part, metrics),
        _age(part, metrics),
        _volumes(part, metrics),
    )
    return [block for block in blocks if block.lines]


def _similarity(part: EvaluationPart, metrics: _StudyMetrics) -> Block:
    pairs = [row for row in part.rows if row.level == PAIR]
    subjects = {row.participant_id for row in pairs}
    panels = {
        f"{heading} ({better})": {
            method: [row.value for row in pairs if (row.method, row.measure) == (method, measure)]
            for method in metrics.methods
            if (method, measure) in metrics.by_name
        }
        for measure, (heading, _, better) in SIMILARITY.items()
    }
    pictures = []
    if pairs:
        violins = draw.violins_figure(panels, part.main, part.raw)
        pictures = [
            Picture(
                encode(violins, "svg"),
                "svg",
                "Similarity of pairs by method",
                "Every point is a pair; the black line is the median. Grey: raw, blue: controls, red: the "
                "study's harmonized scans.",
            ),
            *part.pictures,
        ]
    against = (
        f"the same subject's raw scan at {part.target}" if part.target else "the same subject's other site"
    )
    count = len({(row.scan, row.other_scan) for row in pairs})
    return Block(
        "similarity",
        "One subject at several sites",
        f"{count} pairs of {len(subjects)} travelling subjects, each scan against {against}.",
        [heading for heading, _, _ in SIMILARITY.values()],
        metrics.lines(
            "ssim",
            lambda method: [metrics.text(method, name, spec) for name, (_, spec, _) in SIMILARITY.items()],
        ),
        pictures,
    )


def _anatomy(metrics: _StudyMetrics) -> Block:
    tissues = [name.removeprefix("dice_") for name in metrics.metrics if name.startswith("dice_")]
    measures = [f"{kind}_{tissue}" for kind in ("dice", "volume") for tissue in tissues]
    headings = [f"{kind} {tissue}" for kind in ("Dice", "AP") for tissue in tissues]
    names = [*measures, "anatomy", "spread"]
    return Block(
        "anatomy",
        "Is the anatomy preserved?",
        "",
        [*headings, "gradients", "brain SD"],
        metrics.lines("anatomy", lambda method: [metrics.text(method, name, ".3f") for name in names]),
        (),
    )


def _sites(part: EvaluationPart, metrics: _StudyMetrics) -> Block:
    raw = metrics.value(part.raw, "feature_inter_site")
    count = len(set(part.map_sites))

    def cells(method: str) -> list[str]:
        inter, intra = (
            metrics.value(method, "feature_inter_site"),
            metrics.value(method, "feature_intra_site"),
        )
        share = f" ({inter / raw:.2f})" if inter is not None and raw else ""
        width = f"{inter / intra:.2f}" if inter is not None and intra else "n/a"
        probe = metrics.by_name.get((method, "site_accuracy"))
        return [
            metrics.text(method, "inter_site_wd", ".4f"),
            f"{inter:.2f}{share}" if inter is not None else "n/a",
            width,
            "n/a" if probe is None else f"{probe.value:.2f}",
            metrics.text(method, "site_null_high", ".2f"),
            "n/a" if probe is None or probe.p is None else _probability(probe.p),
        ]

    return Block(
        "sites",
        "Can sites still be distinguished?",
        f"Chance is {1 / count:.2f} with {count} sites." if count > 1 else "",
        [
            "inter-site WD",
            "feature distance (of raw)",
            "inter / intra",
            "site accuracy",
            "without site effect",
            "p",
        ],
        metrics.lines("feature_inter_site", cells) if count > 1 else [],
        list(_maps(part)),
    )


def _maps(part: EvaluationPart) -> Iterator[Picture]:
    if not part.maps:
        return
    subjects = sorted(set(part.map_subjects))
    few = len(part.map_subjects) <= 60
    labels = [str(subjects.index(subject) + 1) for subject in part.map_subjects] if few else None
    figure = draw.feature_maps_figure(part.maps, part.map_sites, part.target, labels)
    numbers = " Numbers are subjects." if few else ""
    yield Picture(
        encode(figure, "svg"),
        "svg",
        "t-SNE of the features, before and after",
        "t-SNE of the same features before and after: one point per scan, colours are sites, crosses their "
        f"centres.{numbers} Where harmonization works, sites mix. Distances between groups of points have no "
        "meaning in such a map: read them from the titles.",
    )


def _age(part: EvaluationPart, metrics: _StudyMetrics) -> Block:
    def cells(method: str) -> list[str]:
        test = metrics.by_name.get((method, "grey_matter_age_r"))
        p = None if test is None or method == part.raw else test.p
        return [
            metrics.text(method, "age_mae", ".2f"),
            metrics.text(method, "age_mae_of_mean", ".2f"),
            "n/a" if test is None else f"{test.value:.2f}",
            "–" if method == part.raw else metrics.text(method, "grey_matter_age_z", ".2f"),
            "–" if p is None else _probability(p),
        ]

    either = [method for method in metrics.methods if metrics.value(method, "grey_matter_age_r") is not None]
    return Block(
        "age",
        "Is the relation to age preserved?",
        "",
        ["age error, years", "of the mean age", "grey matter with age, r", "z of the change", "p"],
        metrics.lines("age_mae", cells) or metrics.lines("grey_matter_age_r", cells),
        [_age_picture(part, metrics)] if part.ages and {part.main, part.raw} <= set(either) else [],
    )


def _volumes(part: EvaluationPart, metrics: _StudyMetrics) -> Block:
    def cells(method: str) -> list[str]:
        probe = metrics.by_name.get((method, "regional_site_accuracy"))
        test = metrics.by_name.get((method, "regional_grey_matter_age_r"))
        p = None if test is None or method == part.raw else test.p
        return [
            "n/a" if probe is None else f"{probe.value:.2f}",
            metrics.text(method, "regional_site_null_high", ".2f"),
            "n/a" if probe is None or probe.p is None else _probability(probe.p),
            metrics.text(method, "regional_age_mae", ".2f"),
            metrics.text(method, "regional_age_mae_of_mean", ".2f"),
            "n/a" if test is None else f"{test.value:.2f}",
            "–" if p is None else _probability(p),
        ]

    return Block(
        "volumes",
        "Regional volumes: sites and age, beside ComBat",
        _ages_by_site(part),
        [
            "site accuracy",
            "without site effect",
            "p",
            "age error, years",
            "of the mean age",
            "total with age, r",
            "p of the change",
        ],
        metrics.lines("regional_site_accuracy", cells) or metrics.lines("regional_age_mae", cells),
        (),
    )


def _ages_by_site(part: EvaluationPart) -> str:
    """Say how old the subjects of each site are: where that differs, sites and ages cannot be told apart."""
    ages = part.ages or {}
    by_site: dict[str, dict[str, float]] = {}
    for site, subject in zip(part.map_sites, part.map_subjects, strict=False):
        if subject in ages:
            by_site.setdefault(site, {})[subject] = ages[subject]
    if not by_site:
        return "Ages are not known, so nobody can tell here whether the subjects of the sites are alike."
    means = ", ".join(
        f"{site} {math.fsum(own.values()) / len(own):.1f} ({len(own)})"
        for site, own in sorted(by_site.items())
    )
    return f"Mean age in years by site (subjects of known age): {means}."


def _probability(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}"


def _age_picture(part: EvaluationPart, metrics: _StudyMetrics) -> Picture:
    ages = part.ages or {}
    ratios: dict[str, dict[str, list[float]]] = {part.raw: {}, part.main: {}}
    for row in part.rows:
        if row.level == SCAN and row.measure == "grey_matter_ratio" and row.method in ratios:
            ratios[row.method].setdefault(str(row.participant_id), []).append(row.value)
    subjects = [subject for subject in ratios[part.raw] if subject in ages]
    means = {
        method: [math.fsum(own[subject]) / len(own[subject]) for subject in subjects]
        for method, own in ratios.items()
    }
    r = {method: metrics.value(method, "grey_matter_age_r") or math.nan for method in ratios}
    return Picture(
        encode(draw.age_figure([ages[subject] for subject in subjects], means, r), "svg"),
        "svg",
        "Grey-matter ratio against age, before and after",
        "Grey-matter ratio against age, one point per subject (scans averaged), before and after.",
    )
