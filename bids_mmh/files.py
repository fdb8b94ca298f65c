"""Atomic writes (a hidden temporary file, then a rename), and fingerprints of files."""

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

_END = 64 * 1024


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    r"""Give a temporary path that is renamed to ``path`` only when the block succeeds.

    The temporary name is hidden, unique per call, and ends like ``path``, so that writers that look at the
    extension (``.nii.gz``) work. Processes that write the same file at once leave one whole version of it.

    Args:
        path: Final file; missing parent folders are made.

    Yields:
        The path to write to. The block must create the file.

    Raises:
        OSError: If the folder or the file cannot be written. The temporary file is removed, and a
            previous version of ``path`` stays as it was.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "results" / "table.tsv") as temporary:
        ...         _ = temporary.write_text("site\n")
        ...     [path.name for path in Path(folder, "results").iterdir()]
        ['table.tsv']
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


def remove_leftovers(folder: Path, beginning: str) -> None:
    """Remove the temporary files of processes that were killed while they wrote.

    Args:
        folder: where they wrote; it need not exist.
        beginning: how the final names begin. No other process may be writing such files now.
    """
    for path in folder.glob(f".{'[0-9a-f]' * 32}.{glob.escape(beginning)}*"):
        path.unlink(missing_ok=True)


def fingerprint(path: Path) -> str:
    """Digest all of the content of a file.

    For a gzip file its size, its first and its last 64 KiB are enough: the last eight bytes hold a checksum
    and the length of the content. If that length is too small for the whole file, which then has several
    members, every byte is read.

    Args:
        path: Any file.

    Returns:
        Sixteen hexadecimal digits; all zero if there is no such file.

    Examples:
        >>> fingerprint(Path("no/such/file"))
        '0000000000000000'
    """
    if not path.is_file():
        return "0" * 16
    with path.open("rb") as stream:
        if _ends_are_enough(stream):
            digest = _digest_of_ends(stream)
        else:
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256")
    return digest.hexdigest()[:16]


def _ends_are_enough(stream: BinaryIO) -> bool:
    """Whether the checksum at the end of a gzip file covers all of its content."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size < 2 * _END or stream.read(2) != b"\x1f\x8b":
        return False
    stream.seek(size - 4)
    # Compression lengthens the content by a thousandth at most; the stored length is modulo 4 GiB.
    length = int.from_bytes(stream.read(4), "little")
    return length >= 0.99 * size


def _digest_of_ends(stream: BinaryIO) -> "hashlib._Hash":
    size = stream.seek(0, os.SEEK_END)
    digest = hashlib.sha256(str(size).encode())
    for start in (0, size - _END):
        stream.seek(start)
        digest.update(stream.read(_END))
    return digest


def _flush_to_disk(path: Path) -> None:
    """Force the content out before the rename: a crash must not leave an empty file under the final name."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
