"""The target site of a study: the one asked for, or the one whose scans differ least (paper 4.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from bids_mmh.bids.atomic import write_json, write_tsv
from bids_mmh.errors import UsageError
from bids_mmh.evaluation.metrics.site_ranking import (
    UNKNOWN,
    SiteVariability,
    choose_site,
    excluded_sites,
    known_sites,
    rank_by_variability,
)
from bids_mmh.reports.group_table import ScanRow
from bids_mmh.settings import AUTO, NO_TARGET

RANKING_FILE = "target_sites.tsv"


@dataclass(frozen=True)
class StudyTarget:
    """The site that a study is harmonized to, and what it was chosen from.

    Attributes:
        site: its name; None where there is none, or none was wanted.
        ranking: all sites, those that qualify first, the least variable first.
        sentences: who was excluded and why, and how the choice was made.
        min_scans: of each sequence, for a site to qualify.
    """

    site: str | None
    ranking: tuple[SiteVariability, ...]
    sentences: tuple[str, ...]
    min_scans: int

    @property
    def title(self) -> str:
        """What the table of sites is called."""
        return f"Choice of the target site (it needs {self.min_scans} scans of every sequence)"

    @property
    def records(self) -> list[dict[str, str]]:
        """The ranking as rows of a table, the same columns in each."""
        return [self._record(place, one) for place, one in enumerate(self.ranking, start=1)]

    def _record(self, place: int, one: SiteVariability) -> dict[str, str]:
        return {
            "rank": str(place) if one.qualifies else UNKNOWN,
            "site": one.site,
            **{f"scans_{sequence}": str(count) for sequence, count in one.counts.items()},
            **{f"variability_{sequence}": _known(value) for sequence, value in one.by_sequence.items()},
            "variability": _known(one.variability),
            "qualifies": "yes" if one.qualifies else "no",
            "target": "yes" if one.site == self.site else "no",
        }

    def write(self, folder: Path) -> Path:
        """Write the ranking and its data dictionary into a folder; returns the table."""
        path = write_tsv(folder / RANKING_FILE, self.records, list(self.dictionary()))
        write_json(path.with_suffix(".json"), self.dictionary())
        return path

    def dictionary(self) -> Mapping[str, Mapping[str, str]]:
        """What the columns of the ranking mean."""
        sequences = list(self.ranking[0].counts) if self.ranking else []
        each = "Mean pairwise Wasserstein distance of the histograms of the site's"
        texts = {
            "rank": "Place among the sites that qualify; n/a for the others",
            "site": "Site; n/a where it is not known",
            **{f"scans_{name}": f"Number of {name} scans" for name in sequences},
            **{f"variability_{name}": f"{each} {name} scans, 0 to 1" for name in sequences},
            "variability": "Mean over the sequences",
            "qualifies": f"Whether the site is known and has {self.min_scans} scans of every sequence",
            "target": "Whether the study is harmonized to this site",
        }
        return {name: {"Description": text} for name, text in texts.items()}


def choose_study_target(rows: Sequence[ScanRow], wanted: str, min_scans: int) -> StudyTarget:
    """Rank the sites of a study and choose the target.

    All scans count, as they were before harmonization, those of travelling subjects too: nothing of a model
    is fitted to them by that, and every method is compared at the same site.

    Args:
        rows: the scans of the study; those with a problem are left out.
        wanted: ``auto``, ``none`` or the name of a site.
        min_scans: a site with fewer scans of a sequence cannot be the automatic target.

    Raises:
        UsageError: there is no site of that name.
    """
    usable = [row for row in rows if row.histogram_before and not row.problem]
    ranking = rank_by_variability(
        [row.histogram_before or () for row in usable],
        [row.site_label for row in usable],
        [row.sequence for row in usable],
        min_scans,
    )
    if wanted not in (AUTO, NO_TARGET):
        _require(wanted, ranking)
        return StudyTarget(wanted, tuple(ranking), (f"Target site: {wanted}.",), min_scans)
    excluded = _excluded(ranking, min_scans)
    if wanted == NO_TARGET:
        sentence = "No target site, as asked for: scans go to a domain of all sites."
        return StudyTarget(None, tuple(ranking), (sentence,), min_scans)
    site = choose_site(ranking)
    if site is None:
        none = f"No site has {min_scans} scans of every sequence, so none is chosen as target."
        return StudyTarget(None, tuple(ranking), (none,), min_scans)
    qualified = [one for one in ranking if one.qualifies]
    chosen = (
        f"Target site: {site}, whose scans differ least "
        f"(mean distance {qualified[0].variability:.4f}; {len(qualified)} sites qualify)."
    )
    return StudyTarget(site, tuple(ranking), (chosen, *excluded), min_scans)


def _require(wanted: str, ranking: Sequence[SiteVariability]) -> None:
    if choose_site(ranking, wanted) is not None:
        return
    names = known_sites(ranking)
    near = get_close_matches(wanted, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    known = ", ".join(names) if names else "none is known"
    raise UsageError(f"--target-site: no scan is from the site '{wanted}'; the sites are: {known}{hint}")


def _excluded(ranking: Sequence[SiteVariability], min_scans: int) -> list[str]:
    """Name the sites with too few scans, with their numbers."""
    few = excluded_sites(ranking)
    if not few:
        return []
    named = ", ".join(f"{one.site} ({_counts(one)})" for one in few)
    fault = f"with fewer than {min_scans} scans of a sequence (--min-site-scans)"
    return [f"Not considered as target, {fault}: {named}."]


def _counts(one: SiteVariability) -> str:
    return ", ".join(f"{count} {sequence}" for sequence, count in one.counts.items())


def _known(value: float) -> str:
    return f"{value:.5f}" if np.isfinite(value) else UNKNOWN
