"""Reading the tables of a raw dataset, forgivingly: they are written by hand more often than not."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from bids_mmh.bids.session import Scan

Row = Mapping[str, str | None]
RowsOf = Callable[[Scan], Sequence[Row]]


def known(value: object) -> str | None:
    """Turn a cell or a metadata field into stripped text; None when it says nothing (``n/a``, empty)."""
    text = "" if value is None else str(value).strip()
    return None if text.casefold() in {"", "n/a", "nan"} else text


def read_tsv(path: Path) -> list[Row]:
    """Read a BIDS table.

    Args:
        path: ``.tsv`` file.

    Returns:
        One mapping a row; cells that say nothing are None. Empty when there is no such file.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", restval="")
        return [{key.strip(): known(cell) for key, cell in row.items() if key} for row in rows]


def participant_rows(bids_dir: Path) -> RowsOf:
    """Give the function that looks a scan up in ``participants.tsv``."""
    rows = _by_label(read_tsv(bids_dir / "participants.tsv"), "participant_id", "sub-")
    return lambda scan: rows.get(scan.entities["subject"], [])


def session_rows(bids_dir: Path) -> RowsOf:
    """Give the function that looks a scan up in its subject's ``_sessions.tsv``."""

    @cache
    def table(subject: str) -> Mapping[str, list[Row]]:
        path = bids_dir / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
        return _by_label(read_tsv(path), "session_id", "ses-")

    return lambda scan: table(scan.entities["subject"]).get(scan.entities.get("session", ""), [])


def scan_rows(bids_dir: Path) -> RowsOf:
    """Give the function that looks a scan up in the ``_scans.tsv`` of its session or subject."""

    @cache
    def table(folder: Path) -> list[Row]:
        return [row for path in folder.glob("*_scans.tsv") for row in read_tsv(path)]

    def rows_of(scan: Scan) -> Sequence[Row]:
        folders = [folder for folder in scan.path.parents[1:3] if folder != bids_dir]
        return [
            row
            for folder in folders
            for row in table(folder)
            if row.get("filename") == scan.path.relative_to(folder).as_posix()
        ]

    return rows_of


TABLES: Mapping[str, Callable[[Path], RowsOf]] = {
    "participants": participant_rows,
    "sessions": session_rows,
    "scans": scan_rows,
}
_FILES = {
    "participants": "participants.tsv",
    "sessions": "sub-*/*_sessions.tsv",
    "scans": "sub-*/**/*_scans.tsv",
}


def table_columns(bids_dir: Path, kind: str) -> set[str]:
    """List the columns of all tables of a kind (``participants``, ``sessions``, ``scans``)."""
    return {column for path in bids_dir.glob(_FILES[kind]) for row in read_tsv(path)[:1] for column in row}


def _by_label(rows: Iterable[Row], column: str, prefix: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault((row.get(column) or "").removeprefix(prefix), []).append(row)
    return found
