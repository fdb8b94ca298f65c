"""Whether the sessions of a dataset are sites or visits.

A session label alone does not tell: ``ses-Tokyo`` may be a scanner that travelling subjects went to,
``ses-ketamine`` is a treatment, and to harmonize it away would be the worst of errors. Scanners tell: where
every session has scanner fields of its own, sessions are sites.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_mmh.bids.metadata import metadata_reader
from bids_mmh.bids.session import Scan
from bids_mmh.bids.tables import known
from bids_mmh.errors import BadDataError

_FIELDS = (
    *("Manufacturer", "ManufacturersModelName", "DeviceSerialNumber"),
    *("MagneticFieldStrength", "StationName", "InstitutionName"),
)
# Labels that name a visit for certain: numbers, time points, and the usual words for them.
_VISIT = re.compile(
    r"(ses|session|tp|timepoint|time|t|v|visit|scan|m|mo|month|w|wk|week|d|day|y|yr|year|wave)?\d+[a-z]?"
    r"|\d+(d|w|m|y|day|week|month|year)s?"
    r"|(bl|baseline|screening|fu|followup|pre|post|test|retest)\d*"
    r"|.*year.*",
    re.IGNORECASE,
)
_NAMED = 5


@dataclass(frozen=True)
class SessionSites:
    """What the sessions of a dataset are.

    Attributes:
        sites: Labels of sessions that are sites, without ``ses-``.
        reason: Sentence that says why; None where no label could be a site.
    """

    sites: frozenset[str] = frozenset()
    reason: str | None = None


def sessions_that_are_sites(bids_dir: Path, unknown: Sequence[Scan]) -> SessionSites:
    """Find out whether sessions are sites: only where no two of them share a scanner.

    The whole dataset is asked, whichever subjects a run is about: the answer must not change between the
    jobs of an array.

    Args:
        bids_dir: Raw dataset.
        unknown: Scans whose site nothing else tells.
    """
    if not any(may_be_site(scan) for scan in unknown):
        return SessionSites()
    fields_of = metadata_reader(bids_dir)
    scanners: dict[str, set[tuple[str | None, ...]]] = defaultdict(set)
    for suffix in {scan.sequence for scan in unknown}:
        for path in bids_dir.glob(f"sub-*/ses-*/anat/*_{suffix}.nii*"):
            label = path.parts[-3].removeprefix("ses-")
            if not _VISIT.fullmatch(label):
                scanners[label].add(_scanner(path, fields_of))
    labels = sorted(scanners)
    named = ", ".join(labels[:_NAMED]) + (", ..." if len(labels) > _NAMED else "")
    if len(labels) > 1 and _all_apart(list(scanners.values())):
        return SessionSites(
            frozenset(labels), f"The sessions {named} count as sites: each has scanner fields of its own."
        )
    return SessionSites(
        reason=f"The sessions {named} count as visits, not sites: no scanner fields tell them apart. If they "
        "are sites, pass --site-from entity:ses."
    )


def may_be_site(scan: Scan) -> bool:
    """Whether the session of a scan has a label that does not name a visit for certain."""
    label = scan.entities.get("session")
    return bool(label) and not _VISIT.fullmatch(str(label))


def _scanner(path: Path, fields_of: Callable[[Path], Mapping[str, Any]]) -> tuple[str | None, ...]:
    try:
        fields = fields_of(path)
    except BadDataError:
        fields = {}
    return tuple(known(fields.get(name)) for name in _FIELDS)


def _all_apart(sessions: Sequence[set[tuple[str | None, ...]]]) -> bool:
    """Whether every session has scanners, and no two the same."""
    unknown = (None,) * len(_FIELDS)
    if any(unknown in scanners for scanners in sessions):
        return False
    return len(set().union(*sessions)) == sum(map(len, sessions))
