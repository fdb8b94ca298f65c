"""The places of a BIDS dataset that can name the site of a scan."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_mmh.bids.metadata import metadata_reader
from bids_mmh.bids.names import ENTITIES
from bids_mmh.bids.session import Scan
from bids_mmh.bids.tables import TABLES, RowsOf, known, table_columns
from bids_mmh.errors import UsageError

LOGGER = logging.getLogger(__name__)

# From a scan to its site and the name of the place that says so (``participants:site``), or None.
Source = Callable[[Scan], tuple[str, str] | None]

# Columns that hold the site in public datasets, most specific first, in lower case with underscores.
_SITE_COLUMNS = (
    *("site", "site_id", "siteid", "site_name", "acquisition_site", "study_site"),
    *("scanner", "scanner_id", "center", "centre", "institution", "institution_name"),
)
_SCANNER_FIELDS = ("Manufacturer", "ManufacturersModelName", "DeviceSerialNumber")
_FORMS = "auto, participants:COLUMN, sessions:COLUMN, scans:COLUMN, sidecar:FIELD or entity:ses"


def named_source(bids_dir: Path, site_from: str, scans: Sequence[Scan]) -> Source:
    """Build the source that the user named.

    Args:
        bids_dir: Raw dataset.
        site_from: ``participants:COLUMN``, ``sessions:COLUMN``, ``scans:COLUMN``, ``sidecar:FIELD`` or
            ``entity:KEY``.
        scans: Scans of this run; at least one must have the field of a sidecar.

    Raises:
        UsageError: When the form is unknown, or the column or field does not exist.
    """
    kind, _, key = site_from.partition(":")
    if kind in TABLES and key:
        _require(site_from, key, table_columns(bids_dir, kind), f"{kind}.tsv")
        return _column_source(kind, TABLES[kind](bids_dir), key)
    if kind == "sidecar" and key:
        fields_of = metadata_reader(bids_dir)
        _require(site_from, key, {name for scan in scans for name in fields_of(scan.path)}, "the sidecars")
        return _source(site_from, lambda scan: known(fields_of(scan.path).get(key)))
    if kind == "entity" and key in ENTITIES:
        return _source(site_from, lambda scan: scan.entities.get(ENTITIES[key]))
    raise UsageError(f"'{site_from}' is not a place to read sites from: use --site-from {_FORMS}.")


def automatic_sources(bids_dir: Path) -> list[Source]:
    """List the places that name a site for certain, in the order in which they are tried for every scan."""
    fields_of = metadata_reader(bids_dir)
    tables = [_usual_column_source(kind, rows_of(bids_dir)) for kind, rows_of in TABLES.items()]
    return [
        *tables,
        _source("sidecar:InstitutionName", lambda scan: known(fields_of(scan.path).get("InstitutionName"))),
        _source(f"sidecar:{'+'.join(_SCANNER_FIELDS)}", lambda scan: _scanner(fields_of(scan.path))),
        _source("sidecar:StationName", lambda scan: known(fields_of(scan.path).get("StationName"))),
    ]


def _source(name: str, read: Callable[[Scan], str | None]) -> Source:
    def source(scan: Scan) -> tuple[str, str] | None:
        site = read(scan)
        return None if site is None else (site, name)

    return source


def _column_source(kind: str, rows_of: RowsOf, column: str) -> Source:
    return _source(
        f"{kind}:{column}",
        lambda scan: _agreed(scan, column, [row.get(column) for row in rows_of(scan)]),
    )


def _usual_column_source(kind: str, rows_of: RowsOf) -> Source:
    """Read the first of the usual columns that says something about the scan."""

    def source(scan: Scan) -> tuple[str, str] | None:
        rows = rows_of(scan)
        usual = {re.sub(r"[\s-]+", "_", column).casefold(): column for row in rows for column in row}
        for column in (usual[name] for name in _SITE_COLUMNS if name in usual):
            cells = [row.get(column) for row in rows]
            if any(cells):
                site = _agreed(scan, column, cells)
                return (site, f"{kind}:{column}") if site else None
        return None

    return source


def _scanner(fields: Mapping[str, Any]) -> str | None:
    """Join make, model and serial number; a make alone names no scanner."""
    make, *others = (known(fields.get(name)) for name in _SCANNER_FIELDS)
    return " ".join(filter(None, [make, *others])) if make and any(others) else None


def _agreed(scan: Scan, column: str, cells: Iterable[str | None]) -> str | None:
    """The one value of some cells; None, with a warning, where rows about one scan contradict each other."""
    values = sorted({cell for cell in cells if cell})
    if len(values) > 1:
        LOGGER.warning(
            "%s: rows contradict each other in column '%s' (%s), and its site counts as not known: correct "
            "the table.",
            scan.path.name,
            column,
            ", ".join(values),
        )
    return values[0] if len(values) == 1 else None


def _require(site_from: str, key: str, names: Iterable[str], where: str) -> None:
    if key not in names:
        there = ", ".join(sorted(names)) or "nothing to choose from"
        raise UsageError(f"--site-from {site_from}: there is no '{key}' in {where}; there is {there}.")
