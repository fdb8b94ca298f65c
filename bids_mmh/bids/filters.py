"""The filter file that fMRIPrep users know: which scans of a sequence to take, by entity."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bids_mmh.bids.names import ENTITIES
from bids_mmh.errors import NoInputError, UsageError

Filters = Mapping[str, Mapping[str, Any]]

_KEYS = sorted({*ENTITIES.values(), "suffix", "extension", "datatype"})


def load_filters(path: Path, sequences: Sequence[str]) -> Filters:
    """Read a filter file such as ``{"t1w": {"acquisition": "mprage", "session": ["A", "B"]}}``.

    Args:
        path: JSON file. Keys are sequences in any case; a value may be a label, a list of labels, null (the
            entity must be absent) or ``"*"`` (it must be there).
        sequences: Sequences that this run asks for.

    Returns:
        Sequence -> entity -> wanted value, with the sequences spelled as in ``sequences``.

    Raises:
        NoInputError: When the file does not exist.
        UsageError: When it is not JSON of that form, or names an unknown sequence or entity.
    """
    content = _read_json(path)
    spelling = {sequence.casefold(): sequence for sequence in sequences}
    filters = {}
    for key, wanted in content.items():
        if key.casefold() not in spelling:
            raise UsageError(
                f"{path}: '{key}' is not among the sequences of this run ({', '.join(sequences)}): remove it "
                "or add it to --sequences."
            )
        filters[spelling[key.casefold()]] = _checked_entities(path, key, wanted)
    return filters


def matches(entities: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    """Say whether a scan with these entities passes the filter of its sequence (see :func:`load_filters`)."""
    return all(_matches_one(entities.get(name), value) for name, value in wanted.items())


def _matches_one(found: str | None, wanted: object) -> bool:
    if wanted is None or found is None:
        return found is None and wanted is None
    if wanted == "*":
        return True
    choices = wanted if isinstance(wanted, list) else [wanted]
    return any(_same_label(found, str(choice)) for choice in choices)


def _same_label(found: str, wanted: str) -> bool:
    """Compare labels; indices may be padded, so run 1 is run-01 (a subject 01 is still not a subject 1)."""
    return found == wanted or (found.isdigit() and wanted.isdigit() and found.lstrip("0") == wanted)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoInputError(f"The filter file {path} does not exist: check --bids-filter-file.") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON ({error}): correct the filter file.") from None
    if not isinstance(content, dict):
        raise UsageError(f'{path} must hold an object such as {{"t1w": {{"acquisition": "mprage"}}}}.')
    return content


def _checked_entities(path: Path, key: str, wanted: object) -> Mapping[str, Any]:
    if not isinstance(wanted, dict):
        raise UsageError(f"{path}: '{key}' must hold an object that maps entities to labels.")
    for name in wanted:
        if name not in _KEYS:
            near = get_close_matches(name, _KEYS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the entities are {', '.join(_KEYS)}."
            raise UsageError(f"{path}: '{name}' under '{key}' is not an entity of BIDS; {hint}")
    return wanted
