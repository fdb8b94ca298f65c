"""Writes that are all or nothing: a hidden sibling file first, then a rename."""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that takes its name only when the block succeeds.

    The temporary name is hidden, unique per call, and ends like ``path``, so that writers that look at the
    extension (``.nii.gz``) work. Processes that write the same file at once leave one whole version of it.

    Args:
        path: Final file; missing parent folders are made.

    Yields:
        The path to write to. The block must create the file.

    Raises:
        OSError: When the folder or the file cannot be written. The temporary file is removed, and a
            previous version of ``path`` stays as it was.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{uuid4().hex}.{final.name}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


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

    Args:
        path: Final ``.tsv`` file.
        rows: One mapping a row; ``None`` and missing keys become ``n/a``.
        columns: Header, in order.

    Raises:
        ValueError: When a row has a key that is not among ``columns``.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="n/a", delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: "n/a" if value is None else value for key, value in row.items()})
    return Path(path)


def _flush_to_disk(path: Path) -> None:
    """Force the content out before the rename: a crash must not leave an empty file under the final name."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
