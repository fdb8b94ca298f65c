"""BIDS text files (JSON, TSV, plain) written all or nothing."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_mmh.files import atomic_path


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write ``text`` as UTF-8 with Unix line ends, atomically, and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> Path:
    """Write a JSON object atomically, indented by two, keys in the given order, and return the path.

    Raises:
        ValueError: When a number is NaN or infinite, which JSON cannot hold.
    """
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_tsv(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], columns: Sequence[str]
) -> Path:
    """Write a BIDS table atomically and return the path.

    BIDS tables know no quoting: a tab or line break inside a value becomes a space.

    Args:
        path: Final ``.tsv`` file.
        rows: One mapping a row; ``None`` and missing keys become ``n/a``.
        columns: Header, in order.

    Raises:
        ValueError: When a row has a key that is not among ``columns``.
    """
    lines = ["\t".join(map(_cell, columns))]
    for row in rows:
        if unknown := row.keys() - set(columns):
            raise ValueError(f"no such columns: {', '.join(sorted(unknown))}")
        lines.append("\t".join(_cell(row.get(name)) for name in columns))
    return write_text(path, "\n".join(lines) + "\n")


def _cell(value: object) -> str:
    return "n/a" if value is None else re.sub(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+", " ", str(value))
