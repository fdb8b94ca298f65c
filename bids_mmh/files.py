"""Writes that are all or nothing (a hidden sibling file first, then a rename), and digests of files."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


def fingerprint(path: Path) -> str:
    """Digest a file's size, its first and its last 64 KiB: quick, and enough to tell two images apart.

    The last bytes of a gzip file hold a checksum of all of its content.

    Returns:
        Sixteen hexadecimal digits; all zero where there is no such file.
    """
    part = 64 * 1024
    if not path.is_file():
        return "0" * 16
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        digest.update(stream.read(part))
        stream.seek(max(0, size - part))
        digest.update(stream.read(part))
    return digest.hexdigest()[:16]


def _flush_to_disk(path: Path) -> None:
    """Force the content out before the rename: a crash must not leave an empty file under the final name."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
