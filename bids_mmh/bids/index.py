"""The anatomical images of a dataset, by the names of files and folders alone.

BIDS fixes where they lie, so two levels of folders are listed and nothing else is read: half a second for
thousands of scans. pybids, whose import alone takes longer, is what the tests compare this with.
"""

import logging
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from bids_mmh.bids.names import ENTITIES

LOGGER = logging.getLogger(__name__)

EXTENSIONS = (".nii.gz", ".nii")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what Python makes of such bytes, and no text file takes
_PAIR = re.compile(r"[/_]([a-z]+)-([a-zA-Z0-9+]+)")
# The values of these entities are not free; what is written otherwise counts as not written.
_NUMBERS = re.compile(r"\d+")
_VALUES = {
    **dict.fromkeys(("run", "echo", "flip", "inv", "chunk"), _NUMBERS),
    "mt": re.compile("on|off"),
    "part": re.compile("imag|mag|phase|real"),
}
_ONLY_DERIVED = {"res", "den", "label", "desc", "seg", "hemi", "split", "from", "to", "mode"}


def subject_labels(bids_dir: Path) -> list[str]:
    """List the subjects that have a folder, without ``sub-``, sorted."""
    return sorted(path.name.removeprefix("sub-") for path in bids_dir.glob("sub-*") if path.is_dir())


def anatomical_images(
    bids_dir: Path, suffixes: Collection[str], *, subjects: Collection[str] = ()
) -> Iterator[Path]:
    """List the NIfTI files in the ``anat`` folders of a dataset.

    Args:
        bids_dir: Raw dataset.
        suffixes: Last parts of their names, such as ``T1w``.
        subjects: Labels of the subjects to look at; all when empty.

    Yields:
        Paths below ``bids_dir``, sorted within a folder. A link whose target is missing is listed too: it is
        a scan, which has not been fetched.

    Raises:
        OSError: When a folder cannot be read.
    """
    endings = tuple(f"_{suffix}{extension}" for suffix in suffixes for extension in EXTENSIONS)
    for subject in subjects or subject_labels(bids_dir):
        root = bids_dir / f"sub-{subject}"
        if _NOT_UTF8.search(root.name):
            LOGGER.warning("Leaving out %s: its name is not UTF-8.", ascii(root.name))
            continue
        for folder in (root / "anat", *(session / "anat" for session in sorted(root.glob("ses-*")))):
            if folder.is_dir():
                found = sorted(path for path in folder.iterdir() if path.name.endswith(endings))
                yield from (path for path in found if not (_NOT_UTF8.search(str(path)) or path.is_dir()))


def raw_entities(below_root: Path) -> dict[str, str]:
    """Take the path of a raw image apart.

    Args:
        below_root: Path from the dataset's root; subject and session are those of the folders.

    Returns:
        Entities, suffix, extension and datatype under pybids' names, values as they are spelled.

    Examples:
        >>> raw_entities(Path("sub-01/anat/sub-01_run-02_T1w.nii.gz"))
        {'subject': '01', 'run': '02', 'suffix': 'T1w', 'extension': '.nii.gz', 'datatype': 'anat'}
    """
    entities: dict[str, str] = {}
    for key, label in _PAIR.findall(f"/{below_root.as_posix()}"):
        value = _value(key, label)
        if key in ENTITIES and key not in _ONLY_DERIVED and value:
            entities.setdefault(ENTITIES[key], value)
    stem, dot, extension = below_root.name.partition(".")
    return entities | {
        "suffix": stem.rpartition("_")[2],
        "extension": dot + extension,
        "datatype": below_root.parent.name,
    }


def _value(key: str, label: str) -> str | None:
    """The label of an entity; its beginning where more stands there than the entity allows."""
    pattern = _VALUES.get(key)
    found = pattern.match(label) if pattern else None
    return label if pattern is None else found[0] if found else None
