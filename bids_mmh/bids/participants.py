"""The participants table: carried into the derivatives, where the group level reads ages and sexes."""

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_mmh.bids.atomic import write_text
from bids_mmh.bids.tables import known, read_text, read_tsv
from bids_mmh.errors import BadDataError

LOGGER = logging.getLogger(__name__)

TABLE = "participants.tsv"
AGE_COLUMNS = ("age", "age_at_scan", "age_years", "scan_age", "age_scan")
OLDEST = 120.0
# How many of a unit make a year, by the beginning of its name.
_PER_YEAR = {"year": 1.0, "month": 12.0, "week": 365.25 / 7, "day": 365.25}
_NAMED = 3
_SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}


@dataclass(frozen=True)
class Ages:
    """Ages of the participants of a study.

    Attributes:
        years: Participant with ``sub-`` to age in years; who is missing is not known.
        problems: Sentences for users: what could not be read.
    """

    years: Mapping[str, float]
    problems: tuple[str, ...] = ()


def copy_participants(bids_dir: Path, output_dir: Path) -> None:
    """Carry ``participants.tsv`` and its data dictionary over, so that derivatives can be studied alone.

    Args:
        bids_dir: Raw dataset; without a table nothing happens.
        output_dir: Root of the derivatives.

    Raises:
        BadDataError: When the table is not UTF-8 text; such a dictionary is left behind with a warning.
    """
    table, dictionary = bids_dir / TABLE, bids_dir / "participants.json"
    if table.is_file() or table.is_symlink():
        write_text(output_dir / TABLE, read_text(table))
    if dictionary.is_file() or dictionary.is_symlink():
        try:
            write_text(output_dir / dictionary.name, read_text(dictionary))
        except BadDataError as error:
            LOGGER.warning("%s", error)


def read_ages(output_dir: Path) -> Ages:
    """Read the ages of the participants.

    The first of the columns ``age``, ``age_at_scan``, ``age_years``, ``scan_age`` and ``age_scan``, in any
    spelling of case, spaces and dashes, is taken. Its unit is that of the data dictionary, else years.
    ``89+`` is 89.

    Args:
        output_dir: Folder of ``participants.tsv``.

    Returns:
        The ages, with a sentence where there are none or where some are no ages.
    """
    path = output_dir / TABLE
    rows = read_tsv(path) if path.is_file() else []
    if not rows:
        return Ages({}, (f"No ages: there is no {TABLE} in {output_dir}.",))
    spelled = {re.sub(r"[\s-]+", "_", column.strip()).casefold(): column for column in rows[0] if column}
    column = next((spelled[name] for name in AGE_COLUMNS if name in spelled), None)
    if column is None:
        return Ages({}, (f"No ages: {path} has no column 'age'.",))
    per_year = _units_per_year(output_dir / "participants.json", column)
    years: dict[str, float] = {}
    odd: dict[str, str] = {}
    for row in rows:
        participant, text = row.get("participant_id"), known(row.get(column))
        if participant is None or text is None:
            continue
        label = f"sub-{participant.removeprefix('sub-')}"
        age = _age(text, per_year)
        if age is None:
            odd[label] = text
        else:
            years.setdefault(label, age)
    if not odd:
        return Ages(years)
    named = ", ".join(f"'{text}' ({label})" for label, text in list(odd.items())[:_NAMED])
    more = ", ..." if len(odd) > _NAMED else ""
    return Ages(
        years,
        (f"{path}: {len(odd)} ages are no ages ({named}{more}) and count as not known: correct the table.",),
    )


def read_sexes(output_dir: Path) -> dict[str, str]:
    """Read the sexes of the participants from the column ``sex`` (BIDS: F, female, M, male, in any case).

    Args:
        output_dir: Folder of ``participants.tsv``.

    Returns:
        Participant with ``sub-`` to ``F`` or ``M``; who is missing is not known.
    """
    path = output_dir / TABLE
    rows = read_tsv(path) if path.is_file() else []
    columns = [name for name in (rows[0] if rows else ()) if name and name.strip().casefold() == "sex"]
    sexes: dict[str, str] = {}
    for row in rows if columns else ():
        participant, text = row.get("participant_id"), known(row.get(columns[0]))
        sex = _SEXES.get((text or "").casefold())
        if participant and sex:
            sexes.setdefault(f"sub-{participant.removeprefix('sub-')}", sex)
    return sexes


def _age(text: str, per_year: float) -> float | None:
    try:
        years = float(text.removesuffix("+").replace(",", ".")) / per_year
    except ValueError:
        return None
    return years if math.isfinite(years) and 0 <= years <= OLDEST else None


def _units_per_year(dictionary: Path, column: str) -> float:
    try:
        entry = json.loads(dictionary.read_text(encoding="utf-8-sig"))[column]
        unit = str(entry["Units"]).strip().casefold()
    except (OSError, ValueError, KeyError, TypeError):
        return 1.0
    return next((number for name, number in _PER_YEAR.items() if unit.startswith(name)), 1.0)
