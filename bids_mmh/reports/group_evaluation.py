"""The evaluation on the group page: tables and figures of one sequence, what they mean, their traps."""

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
LIKENESS: Mapping[str, tuple[str, str, str]] = {
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
        notes: Sentences: who was measured.
        skipped: Sentences: what there is not, and why.
        rows: All figures.
        main: Name of the evaluated method.
        raw: Name of the raw control.
        ages: Participant to age, years.
        maps: Method to feature map, of the scans in ``map_sites``.
        map_sites: The site of each scan of the maps.
        map_people: The participant of each scan of the maps.
        pictures: Travelling subjects.
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
    map_people: Sequence[str] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True, eq=False)
class Block:
    """A question, the table that answers it (a row a method), and figures.

    Attributes:
        key: ``likeness``, ``anatomy``, ``sites`` or ``age``: the template explains each.
        title: The question.
        lead: A sentence with the numbers of this study, or nothing.
        headings: Of the columns.
        lines: Method and its cells.
        pictures: Figures below the table.
    """

    key: str
    title: str
    lead: str
    headings: Sequence[str]
    lines: Sequence[tuple[str, Sequence[str]]]
    pictures: Sequence[Picture]


class _Figures:
    """The study's figures by method and measure."""

    def __init__(self, rows: Sequence[EvaluationRow]) -> None:
        self.by_name = {(row.method, row.measure): row for row in rows if row.level == STUDY}
        self.methods = list(dict.fromkeys(row.method for row in rows if row.level == STUDY))
        self.measures = list(dict.fromkeys(row.measure for row in rows if row.level == STUDY))

    def text(self, method: str, measure: str, spec: str) -> str:
        """Mean, standard deviation and star; n/a where there is no figure."""
        row = self.by_name.get((method, measure))
        if row is None:
            return "n/a"
        spread = "" if row.sd is None or math.isnan(row.sd) else f" ± {row.sd:{spec}}"
        star = "*" if row.p is not None and row.p < SIGNIFICANT else ""
        return f"{row.value:{spec}}{spread}{star}"

    def value(self, method: str, measure: str) -> float | None:
        """The figure, or None."""
        row = self.by_name.get((method, measure))
        return None if row is None else row.value

    def lines(self, measure: str, cells: Callable[[str], Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
        """A line for each method that has a measure."""
        return [(method, cells(method)) for method in self.methods if (method, measure) in self.by_name]


def evaluation_blocks(part: EvaluationPart) -> list[Block]:
    """Lay one sequence's evaluation out.

    Args:
        part: Its figures.

    Returns:
        Blocks in the order of the page; a block without any figures is left out.
    """
    figures = _Figures(part.rows)
    blocks = (_likeness(part, figures), _anatomy(figures), _sites(part, figures), _age(part, figures))
    return [block for block in blocks if block.lines]


def _likeness(part: EvaluationPart, figures: _Figures) -> Block:
    pairs = [row for row in part.rows if row.level == PAIR]
    people = {row.participant_id for row in pairs}
    panels = {
        f"{heading} ({better})": {
            method: [row.value for row in pairs if (row.method, row.measure) == (method, measure)]
            for method in figures.methods
        }
        for measure, (heading, _, better) in LIKENESS.items()
    }
    pictures = []
    if pairs:
        violins = draw.violins_figure(panels, part.main, part.raw)
        pictures = [
            Picture(
                encode(violins, "svg"),
                "svg",
                "Likeness of pairs by method",
                "Every point is a pair; the black line is the median. Grey: raw, blue: controls, red: the "
                "study's harmonized scans.",
            ),
            *part.pictures,
        ]
    against = (
        f"the same person's raw scan at {part.target}" if part.target else "the same person's other site"
    )
    count = len({(row.scan, row.other_scan) for row in pairs})
    return Block(
        "likeness",
        "One person at several sites",
        f"{count} pairs of {len(people)} travelling subjects, each scan against {against}.",
        [heading for heading, _, _ in LIKENESS.values()],
        figures.lines(
            "ssim",
            lambda method: [figures.text(method, name, spec) for name, (_, spec, _) in LIKENESS.items()],
        ),
        pictures,
    )


def _anatomy(figures: _Figures) -> Block:
    tissues = [name.removeprefix("dice_") for name in figures.measures if name.startswith("dice_")]
    measures = [f"{kind}_{tissue}" for kind in ("dice", "volume") for tissue in tissues]
    headings = [f"{kind} {tissue}" for kind in ("Dice", "AP") for tissue in tissues]
    names = [*measures, "anatomy", "spread"]
    return Block(
        "anatomy",
        "Is the anatomy still there?",
        "",
        [*headings, "gradients", "brain SD"],
        figures.lines("anatomy", lambda method: [figures.text(method, name, ".3f") for name in names]),
        (),
    )


def _sites(part: EvaluationPart, figures: _Figures) -> Block:
    raw = figures.value(part.raw, "feature_inter_site")
    count = len(set(part.map_sites))

    def cells(method: str) -> list[str]:
        inter, intra = (
            figures.value(method, "feature_inter_site"),
            figures.value(method, "feature_intra_site"),
        )
        share = f" ({inter / raw:.2f})" if inter is not None and raw else ""
        width = f"{inter / intra:.2f}" if inter is not None and intra else "n/a"
        probe = figures.by_name.get((method, "site_accuracy"))
        return [
            figures.text(method, "inter_site_wd", ".4f"),
            f"{inter:.2f}{share}" if inter is not None else "n/a",
            width,
            "n/a" if probe is None else f"{probe.value:.2f}",
            figures.text(method, "site_null_high", ".2f"),
            "n/a" if probe is None or probe.p is None else _probability(probe.p),
        ]

    return Block(
        "sites",
        "Can sites still be told apart?",
        f"Chance is {1 / count:.2f} with {count} sites." if count > 1 else "",
        [
            "inter-site WD",
            "feature distance (of raw)",
            "inter / intra",
            "site accuracy",
            "without site effect",
            "p",
        ],
        figures.lines("feature_inter_site", cells) if count > 1 else [],
        list(_maps(part)),
    )


def _maps(part: EvaluationPart) -> Iterator[Picture]:
    if not part.maps:
        return
    people = sorted(set(part.map_people))
    few = len(part.map_people) <= 60
    labels = [str(people.index(person) + 1) for person in part.map_people] if few else None
    figure = draw.feature_maps_figure(part.maps, part.map_sites, part.target, labels)
    numbers = " Numbers are people." if few else ""
    yield Picture(
        encode(figure, "svg"),
        "svg",
        "t-SNE of the features, before and after",
        "t-SNE of the same features before and after: one point a scan, colours are sites, crosses their "
        f"centres.{numbers} Where harmonization works, sites mix. Distances between groups of points have no "
        "meaning in such a map: read them from the titles.",
    )


def _age(part: EvaluationPart, figures: _Figures) -> Block:
    def cells(method: str) -> list[str]:
        test = figures.by_name.get((method, "grey_matter_age_r"))
        p = None if test is None or method == part.raw else test.p
        return [
            figures.text(method, "age_mae", ".2f"),
            figures.text(method, "age_mae_of_mean", ".2f"),
            "n/a" if test is None else f"{test.value:.2f}",
            "–" if method == part.raw else figures.text(method, "grey_matter_age_z", ".2f"),
            "–" if p is None else _probability(p),
        ]

    either = [method for method in figures.methods if figures.value(method, "grey_matter_age_r") is not None]
    return Block(
        "age",
        "Does age survive?",
        "",
        ["age error, years", "of the mean age", "grey matter with age, r", "z of the change", "p"],
        figures.lines("age_mae", cells) or figures.lines("grey_matter_age_r", cells),
        [_age_picture(part, figures)] if part.main in either and part.raw in either else [],
    )


def _probability(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}"


def _age_picture(part: EvaluationPart, figures: _Figures) -> Picture:
    ages = part.ages or {}
    ratios: dict[str, dict[str, list[float]]] = {part.raw: {}, part.main: {}}
    for row in part.rows:
        if row.level == SCAN and row.measure == "grey_matter_ratio" and row.method in ratios:
            ratios[row.method].setdefault(str(row.participant_id), []).append(row.value)
    people = [person for person in ratios[part.raw] if person in ages]
    means = {
        method: [math.fsum(own[person]) / len(own[person]) for person in people]
        for method, own in ratios.items()
    }
    r = {method: figures.value(method, "grey_matter_age_r") or math.nan for method in ratios}
    return Picture(
        encode(draw.age_figure([ages[person] for person in people], means, r), "svg"),
        "svg",
        "Grey-matter ratio against age, before and after",
        "Grey-matter ratio against age, one point a person (scans averaged), before and after.",
    )
