"""Distances between the sites of a study, for its page and as a table."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bids_mmh.bids.atomic import write_json, write_tsv
from bids_mmh.derivatives.index import parts_of
from bids_mmh.derivatives.outputs import OUTPUTS
from bids_mmh.evaluation.metrics.site_distance import site_distances
from bids_mmh.reports.group_page import SiteComparison
from bids_mmh.reports.group_table import ScanRow

_WD = "Mean Wasserstein distance of histograms (0 to 1) over the pairs of a scan of each site,"
COLUMNS = {
    "space": "Template space of the scans",
    "site": "A site",
    "other_site": "Another site, or the same for the variability within it",
    "wd_before": f"{_WD} before harmonization",
    "wd_after": f"{_WD} after harmonization; n/a where nothing is harmonized",
}


Comparisons = Mapping[tuple[str, str], SiteComparison | None]
"""By sequence and space; None where there are fewer than two sites."""


def compare_all_sites(rows: Sequence[ScanRow]) -> Comparisons:
    """Compare the sites of a study, sequence by sequence and space by space.

    Args:
        rows: The scans of the study.

    Returns:
        See :func:`compare_sites`.
    """
    return {(sequence, space): compare_sites(own) for sequence, space, own in parts_of(rows)}


def write_site_distances(output_dir: Path, comparisons: Comparisons) -> list[str]:
    """Write ``site_distances_<sequence>_table.tsv`` with its data dictionary for sequences of several sites.

    Args:
        output_dir: Root of the derivatives.
        comparisons: From :func:`compare_all_sites`.

    Returns:
        Names of the tables.

    Raises:
        OSError: If one cannot be written.
    """
    records: dict[str, list[dict[str, str | float | None]]] = {}
    for (sequence, space), comparison in comparisons.items():
        if comparison is not None:
            records.setdefault(sequence, []).extend(_records(space, comparison))
    dictionary = {name: {"Description": text} for name, text in COLUMNS.items()}
    tables = []
    for sequence, own in records.items():
        path = OUTPUTS["site_distances_table"].path(output_dir, sequence=sequence)
        table = write_tsv(path, own, list(COLUMNS))
        write_json(table.with_suffix(".json"), dictionary)
        tables.append(table.name)
    return tables


def _records(space: str, comparison: SiteComparison) -> Iterator[dict[str, str | float | None]]:
    """Every pair of sites once, the variability within each site among them."""
    for i, site in enumerate(comparison.sites):
        for j, other in enumerate(comparison.sites[i:], start=i):
            yield {
                "space": space,
                "site": site,
                "other_site": other,
                "wd_before": _known(comparison.before[i, j]),
                "wd_after": None if comparison.after is None else _known(comparison.after[i, j]),
            }


def _known(distance: float) -> float | None:
    return round(float(distance), 5) if np.isfinite(distance) else None


def compare_sites(rows: Sequence[ScanRow]) -> SiteComparison | None:
    """Compare the sites of scans of one sequence and space.

    Args:
        rows: The scans; those of unknown site and those with a problem are left out. Where some are
            harmonized, only those are compared, so that before and after are of the same scans.

    Returns:
        The distances, or None where fewer than two sites are left.
    """
    usable = [row for row in rows if row.site and row.histogram_before and not row.problem]
    harmonized = [row for row in usable if row.histogram_after]
    compared = harmonized or usable
    sites = [row.site_label for row in compared]
    if len(set(sites)) < 2:
        return None
    before = site_distances([row.histogram_before or () for row in compared], sites)
    if not harmonized:
        nothing = float("nan")
        intra, inter = (before.intra_site, nothing), (before.inter_site, nothing)
        return SiteComparison(before.sites, before.matrix, None, intra, inter)
    after = site_distances([row.histogram_after or () for row in compared], sites)
    return SiteComparison(
        before.sites,
        before.matrix,
        after.matrix,
        intra_site=(before.intra_site, after.intra_site),
        inter_site=(before.inter_site, after.inter_site),
    )
