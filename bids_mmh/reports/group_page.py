"""The page of a study: sites and scans before and after harmonization, their provenance, and outliers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.reports.figures import group as group_figures
from bids_mmh.reports.figures.encode import data_uri
from bids_mmh.reports.group_evaluation import EvaluationPart, evaluation_blocks
from bids_mmh.reports.group_table import NO_SITE, ScanRow
from bids_mmh.reports.page import render

# Columns of the scan table on the page: heading and whether it holds numbers.
TABLE_COLUMNS: Mapping[str, bool] = {
    "scan": False,
    "sequence": False,
    "site": False,
    "space": False,
    "state": False,
    "mean before": True,
    "mean after": True,
    "std before": True,
    "std after": True,
    "distance": True,
    "anatomy": True,
    "suggestion": False,
}


@dataclass(frozen=True, eq=False)
class SiteComparison:
    """Wasserstein distances between the scans of two or more sites.

    Attributes:
        sites: Site names that label ``before`` and ``after``.
        before: Mean pairwise distances, shape (sites, sites).
        after: The same after harmonization, or None.
        intra_site: Mean distance within sites, before and after (NaN where not known).
        inter_site: Mean distance between sites, before and after (NaN where not known).
    """

    sites: tuple[str, ...]
    before: NDArray[np.float64]
    after: NDArray[np.float64] | None
    intra_site: tuple[float, float]
    inter_site: tuple[float, float]


@dataclass(frozen=True, eq=False)
class StudyPart:
    """The scans of one sequence in one space; scans of two spaces are never compared.

    Attributes:
        sequence: Suffix: ``T1w``, ``T2w``, ...
        space: Label of the template space.
        rows: Scans, those with a problem included.
        comparison: Distances between its sites, or None if there is nothing to compare.
        evaluation: Its evaluation, or None if there is none.
    """

    sequence: str
    space: str
    rows: Sequence[ScanRow]
    comparison: SiteComparison | None
    evaluation: EvaluationPart | None = None


@dataclass(frozen=True)
class StudyFacts:
    """Facts on the study as a whole.

    Attributes:
        warnings: Sentences about the study as a whole.
        tables: Addresses of the TSV files, relative to the page.
        version: Version of the program.
        rankings: Title to table of sites that a target was chosen from, the same columns in each row.
        methods: The methods text, Markdown.
    """

    warnings: Sequence[str]
    tables: Sequence[str]
    version: str
    rankings: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    methods: str = ""


def render_group_page(parts: Sequence[StudyPart], facts: StudyFacts) -> str:
    """Render the group page.

    Args:
        parts: The study by sequence and space.
        facts: Facts on the study as a whole.

    Returns:
        One HTML document with everything embedded; it opens without a network. Text is escaped.
    """
    rows = [row for part in parts for row in part.rows]
    return render(
        "group.html",
        {
            "facts": facts,
            "counts": Counter("harmonized" if row.harmonized else "preprocessed only" for row in rows),
            "models": _models(rows),
            "parts": [_part_context(part) for part in parts],
            "columns": TABLE_COLUMNS,
            "sites": _site_counts(parts),
            "outliers": sorted(
                (row for row in rows if row.suggestion), key=lambda row: (row.suggestion, row.scan)
            ),
            "data": [_cells(row) for row in rows],
            "participants": len({row.participant_id for row in rows}),
        },
    )


def _models(rows: Sequence[ScanRow]) -> list[tuple[tuple[str | None, ...], int]]:
    """Count the scans of every model, the most used one first."""
    made = (row for row in rows if row.harmonized and not row.problem)
    models: Counter[tuple[str | None, ...]] = Counter(
        (row.model, row.model_sha256, row.target, row.encoder) for row in made
    )
    return models.most_common()


def _site_counts(parts: Sequence[StudyPart]) -> dict[str, list[int]]:
    """Count the scans of every site in every part; unknown sites come last."""
    counts = [Counter(row.site_label for row in part.rows) for part in parts]
    sites = sorted(set().union(*counts), key=lambda site: (site == NO_SITE, site))
    return {site: [count[site] for count in counts] for site in sites}


def _part_context(part: StudyPart) -> dict[str, Any]:
    usable = [row for row in part.rows if row.histogram_before]
    sites = sorted({row.site_label for row in usable}, key=lambda site: (site == NO_SITE, site))
    return {
        "sequence": part.sequence,
        "space": part.space,
        "scans": len(part.rows),
        "comparison": part.comparison,
        "verdict": _verdict(part, sites),
        "histograms": data_uri(_histograms(usable, sites), "svg") if usable else None,
        "strips": data_uri(_strips(usable, sites), "svg") if usable else None,
        "matrix": data_uri(_matrix(part.comparison), "svg") if part.comparison else None,
        "evaluation": _evaluation(part.evaluation) if part.evaluation else None,
    }


def _evaluation(part: EvaluationPart) -> dict[str, Any]:
    return {
        "notes": part.notes,
        "skipped": part.skipped,
        "main": part.main,
        "blocks": evaluation_blocks(part),
    }


def _verdict(part: StudyPart, sites: Sequence[str]) -> str:
    """Say in a sentence what the comparison of sites shows, or why there is none."""
    known = [site for site in sites if site != NO_SITE]
    if part.comparison is None:
        if not known:
            return "No site is known for these scans: there is nothing to compare."
        return f"All scans with a known site come from {known[0]}: there is nothing to compare."
    before, after = part.comparison.inter_site
    if not np.isfinite(after):
        return f"Sites lie {before:.4f} apart on average; there are no harmonized scans to compare with."
    change = (
        f"{abs(1 - after / before):.0%} {'less' if after <= before else 'more'}" if before else "not less"
    )
    return f"Sites lie {before:.4f} apart on average before harmonization and {after:.4f} after it, {change}."


def _histograms(rows: Sequence[ScanRow], sites: Sequence[str]) -> bytes:
    before = {site: [row.histogram_before for row in rows if row.site_label == site] for site in sites}
    after = {
        site: [row.histogram_after for row in rows if row.site_label == site and row.histogram_after]
        for site in sites
    }
    return group_figures.site_histograms_figure(
        {site: np.asarray(curves) for site, curves in before.items()},
        {site: np.asarray(curves) for site, curves in after.items() if curves},
    )


def _strips(rows: Sequence[ScanRow], sites: Sequence[str]) -> bytes:
    quantities = {
        f"{name} of the scaled intensity": {
            site: (
                [row.before[name] for row in rows if row.site_label == site and row.before],
                [row.after[name] for row in rows if row.site_label == site and row.after],
            )
            for site in sites
        }
        for name in ("mean", "std")
    }
    return group_figures.site_strips_figure(quantities)


def _matrix(comparison: SiteComparison) -> bytes:
    return group_figures.site_matrix_figure(comparison.sites, comparison.before, comparison.after)


def _cells(row: ScanRow) -> list[Any]:
    """Give the cells of one row of the page's table, then the address of its subject page."""
    before, after = row.before or {}, row.after or {}
    numbers = (
        before.get("mean"),
        after.get("mean"),
        before.get("std"),
        after.get("std"),
        row.histogram_distance,
        row.anatomy_preservation,
    )
    return [
        row.scan,
        row.sequence,
        row.site_label,
        row.space,
        row.state,
        *(None if number is None else round(number, 4) for number in numbers),
        row.suggestion,
        row.page,
    ]
