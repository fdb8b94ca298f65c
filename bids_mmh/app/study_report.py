"""The tables and the page of a study, written from its rows."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bids_mmh import __version__
from bids_mmh.bids.atomic import write_json, write_text, write_tsv
from bids_mmh.errors import CannotCreateError
from bids_mmh.evaluation.site_distance import site_distances
from bids_mmh.reports.group_page import SiteComparison, StudyPart, render_group_page
from bids_mmh.reports.group_table import ScanRow, data_dictionary

PAGE = "group.html"


def write_study(output_dir: Path, rows: Sequence[ScanRow], warnings: Sequence[str]) -> Path:
    """Write ``group_<sequence>.tsv`` with a data dictionary for each sequence, and ``group.html``.

    Args:
        output_dir: Root of the derivatives.
        rows: The scans of the study.
        warnings: Sentences about the study as a whole.

    Returns:
        The page.

    Raises:
        CannotCreateError: If a table or the page cannot be written.
    """
    try:
        tables = _write(output_dir, rows, warnings)
        _remove_stale(output_dir, tables)
    except OSError as error:
        raise CannotCreateError(
            f"The group tables cannot be written to {output_dir} ({error}): "
            "check its permissions and the free space."
        ) from error
    return output_dir / PAGE


def _remove_stale(output_dir: Path, tables: Sequence[str]) -> None:
    """Remove tables of an earlier run that this one did not write: they would pass for current ones."""
    for table in output_dir.glob("group_*.tsv"):
        if table.name not in tables:
            table.unlink(missing_ok=True)
            table.with_suffix(".json").unlink(missing_ok=True)


def _write(output_dir: Path, rows: Sequence[ScanRow], warnings: Sequence[str]) -> list[str]:
    columns = data_dictionary()
    tables = []
    for sequence in sorted({row.sequence for row in rows}):
        records = (row.record() for row in rows if row.sequence == sequence)
        table = write_tsv(output_dir / f"group_{sequence}.tsv", records, list(columns))
        write_json(table.with_suffix(".json"), columns)
        tables.append(table.name)
    page = render_group_page(
        parts=_parts(rows),
        warnings=warnings,
        tables=tables,
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=__version__,
    )
    write_text(output_dir / PAGE, page)
    return tables


def _parts(rows: Sequence[ScanRow]) -> list[StudyPart]:
    parts = []
    for sequence, space in sorted({(row.sequence, row.space) for row in rows}):
        own = [row for row in rows if (row.sequence, row.space) == (sequence, space)]
        parts.append(StudyPart(sequence, space, own, compare_sites(own)))
    return parts


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
