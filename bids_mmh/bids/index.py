"""The pybids index of a dataset: anatomical images only, without metadata, optionally kept on disk."""

import hashlib
import logging
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

LOGGER = logging.getLogger(__name__)

# Patterns see paths relative to the dataset: nothing but sub-*/[ses-*/]anat is worth indexing here.
_NOT_A_SUBJECT = re.compile(r"^/(?!sub-)")
_NOT_ANATOMICAL = re.compile(r"^/sub-[^/]+/(ses-[^/]+/)?(?!anat(/|$)|ses-)")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what Python makes of such bytes, and no database takes


def subject_labels(bids_dir: Path) -> list[str]:
    """List the subjects that have a folder, without ``sub-``, sorted."""
    return sorted(path.name.removeprefix("sub-") for path in bids_dir.glob("sub-*") if path.is_dir())


def open_layout(bids_dir: Path, *, subjects: Collection[str] = (), database_dir: Path | None = None) -> Any:  # noqa: ANN401  (pybids is untyped)
    """Index a dataset with pybids.

    Args:
        bids_dir: Raw dataset.
        subjects: Index only these (all when empty). Ignored with a database, which serves every later run.
        database_dir: Folder to keep the index in. It holds one index per state of the dataset, named by a
            fingerprint of its folders, so that a changed dataset is indexed anew, and so that jobs that
            start together can share it.

    Returns:
        A ``bids.BIDSLayout``.

    Raises:
        OSError: When the dataset cannot be read or the database not written.
    """
    if database_dir is None:
        return _layout(bids_dir, subjects)
    index = database_dir / _fingerprint(bids_dir)
    if not index.exists():
        _build_database(bids_dir, index)
    return _layout(bids_dir, database_path=index)


def _layout(bids_dir: Path, subjects: Collection[str] = (), **kwargs: Any) -> Any:  # noqa: ANN401
    from bids import BIDSLayout, BIDSLayoutIndexer

    ignore = [_NOT_A_SUBJECT, _NOT_ANATOMICAL, _NOT_UTF8]
    for folder in bids_dir.glob("sub-*"):
        if _NOT_UTF8.search(folder.name):
            LOGGER.warning("Leaving out %s: its name is not UTF-8.", ascii(folder.name))
    if subjects:
        wanted = "|".join(re.escape(label) for label in subjects)
        ignore.append(re.compile(rf"^/sub-(?!({wanted})(/|$))"))
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore)
    return BIDSLayout(bids_dir, validate=False, indexer=indexer, **kwargs)


def _build_database(bids_dir: Path, index: Path) -> None:
    """Build beside and rename, so that no other job ever opens a half-built index."""
    building = index.with_name(f".{uuid4().hex}")
    building.mkdir(parents=True)
    try:
        _layout(bids_dir, database_path=building)
        building.rename(index)
    except OSError:
        if not index.exists():  # otherwise another job was faster, and its index is as good
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fingerprint(bids_dir: Path) -> str:
    """Digest the subject, session and anat folders: their times change when a file comes or goes."""
    digest = hashlib.sha256(str(bids_dir).encode())
    for folder in sorted(_folders(bids_dir)):
        digest.update(
            f"\n{folder.relative_to(bids_dir)} {folder.stat().st_mtime_ns}".encode(errors="replace")
        )
    return digest.hexdigest()[:16]


def _folders(bids_dir: Path) -> Iterator[Path]:
    for pattern in ("sub-*", "sub-*/anat", "sub-*/ses-*", "sub-*/ses-*/anat"):
        yield from (path for path in bids_dir.glob(pattern) if path.is_dir())
