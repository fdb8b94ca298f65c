"""Reading the tables of a raw dataset, forgivingly: they are written by hand more often than not."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from bids_mmh.bids.session import Scan
from bids_mmh.errors import BadDataError

LOGGER = logging.getLogger(__name__)

Row = Mapping[str, str | None]
_NAMED, _SHOWN = 5, 40  # so many lines, labels or columns are named in a sentence, so many letters of each
RowsOf = Callable[[Scan], Sequence[Row]]


def known(value: object) -> str | None:
    """Turn a cell or a metadata field into stripped text; None when it says nothing (``n/a``, empty)."""
    text = "" if value is None else str(value).strip()
    return None if text.casefold() in {"", "n/a", "nan"} else text


def read_text(path: Path) -> str:
    """Read a text file of a dataset, which BIDS wants in UTF-8; a byte order mark is dropped.

    Returns:
        The text with Unix line ends.

    Raises:
        BadDataError: When the file cannot be read, or is written in another encoding.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadDataError(f"{path} cannot be read ({error.strerror}): fetch it or mend it.") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 of plain letters is valid UTF-8, every other character of it a zero
        raise BadDataError(f"{path} is not UTF-8 text (Latin-1 or UTF-16, perhaps): save it as UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_tsv(path: Path) -> list[Row]:
    """Read a BIDS table. Quotation marks are ordinary characters: BIDS tables know no quoting.

    Rows with more cells than there are columns are left out, for nobody can say which cell belongs to which
    column; what is missing at the end of a row counts as ``n/a``. Both are logged.

    Args:
        path: ``.tsv`` file.

    Returns:
        One mapping a row; cells that say nothing are None. Empty when there is no such file.

    Raises:
        BadDataError: When the file is not UTF-8 text, or a link to content that is not here.
    """
    if not path.is_file() and not path.is_symlink():
        return []
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    if not lines:
        return []
    columns = [name.strip() for name in lines[0][1].rstrip("\t").split("\t")]
    rows: list[Row] = []
    long, short = [], []
    for number, line in lines[1:]:
        cells = line.split("\t")
        if any(known(cell) for cell in cells[len(columns) :]):
            long.append(number)
            continue
        if len(cells) < len(columns):
            short.append(number)
        cells += [""] * (len(columns) - len(cells))
        rows.append({name: known(cell) for name, cell in zip(columns, cells, strict=False) if name})
    _warn_of_rows(path, long, "more cells than there are columns and were left out")
    _warn_of_rows(path, short, "fewer cells than there are columns; what is missing counts as n/a")
    return rows


def _warn_of_rows(path: Path, numbers: Sequence[int], fault: str) -> None:
    if numbers:
        named = ", ".join(map(str, numbers[:_NAMED])) + (", ..." if len(numbers) > _NAMED else "")
        LOGGER.warning("%s: lines %s have %s: correct the table.", path, named, fault)


def participant_rows(bids_dir: Path) -> RowsOf:
    """Give the function that looks a scan up in ``participants.tsv``; a participant without a row is logged.

    In a table with several rows a participant, a column ``session_id`` says which session a row is about.
    """
    path = bids_dir / "participants.tsv"
    rows = _by_label(read_tsv(path), "participant_id", "sub-")

    @cache
    def rows_of(subject: str) -> Sequence[Row]:
        if rows and subject not in rows:
            near = next((label for label in rows if label.lstrip("0") == subject.lstrip("0")), None)
            hint = f", only one of '{near}'" if near else ""
            LOGGER.warning("%s has no row of sub-%s%s: nothing is known of that one.", path, subject, hint)
        return rows.get(subject, [])

    def of_session(scan: Scan) -> Sequence[Row]:
        session = scan.entities.get("session", "")
        about = {None, session, f"ses-{session}"}
        return [row for row in rows_of(scan.entities["subject"]) if row.get("session_id") in about]

    return of_session


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
    """List the columns of the readable tables of a kind (``participants``, ``sessions``, ``scans``)."""
    columns: set[str] = set()
    for path in bids_dir.glob(_FILES[kind]):
        with suppress(BadDataError):  # said where the table is needed
            columns |= {column for row in read_tsv(path)[:1] for column in row}
    return columns


def _by_label(rows: Iterable[Row], column: str, prefix: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if column not in row:
            there = ", ".join(name[:_SHOWN] for name in list(row)[:_NAMED])
            LOGGER.warning("A table has no column '%s' but %s: it is not used.", column, there)
            return {}
        found.setdefault((row.get(column) or "").removeprefix(prefix), []).append(row)
    return found
