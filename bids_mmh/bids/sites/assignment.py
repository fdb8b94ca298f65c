"""Which site (scanner) each scan comes from, and the table that shows it.

BIDS has no site entity: studies keep it in a column of participants.tsv, of sessions.tsv or scans.tsv, in the
sidecars, or in the session label of travelling subjects.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bids_mmh.bids.atomic import write_tsv
from bids_mmh.bids.session import Scan, Session
from bids_mmh.bids.sites.session_labels import sessions_that_are_sites
from bids_mmh.bids.sites.sources import Source, automatic_sources, named_source
from bids_mmh.errors import BadDataError

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SiteTable:
    """Sessions with their sites.

    Attributes:
        sessions: As given, each scan with its ``site`` filled in (None when unknown).
        sources: For each scan, in order, what its site was read from (None when unknown), such as
            ``participants:site``.
        reason: Sentence on whether sessions count as sites; None where that is no question.
    """

    sessions: tuple[Session, ...]
    sources: tuple[str | None, ...]
    reason: str | None = None

    @property
    def scans(self) -> tuple[Scan, ...]:
        """All scans, session by session."""
        return tuple(scan for session in self.sessions for scan in session.scans)

    @property
    def counts(self) -> dict[str | None, dict[str, int]]:
        """Site -> sequence -> number of scans; the unknown site (None) comes last."""
        found: dict[str | None, Counter[str]] = defaultdict(Counter)
        for scan in self.scans:
            found[scan.site][scan.sequence] += 1
        return {
            site: dict(found[site]) for site in sorted(found, key=lambda site: (site is None, site or ""))
        }

    def format_table(self) -> str:
        """Lay out sites by sequences as plain text, with what the sites were read from above it."""
        sequences = list(dict.fromkeys(scan.sequence for scan in self.scans))
        rows = [["site", *sequences]]
        for site, counts in self.counts.items():
            rows.append([site or "n/a", *(str(counts.get(name, 0)) for name in sequences)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([self._headline(), *([self.reason] if self.reason else []), *lines])

    def write_tsv(self, path: Path) -> None:
        """Write one row a scan: participant_id, session_id, filename, sequence, site, site_source."""
        columns = ["participant_id", "session_id", "filename", "sequence", "site", "site_source"]
        rows = [
            {
                "participant_id": f"sub-{scan.entities['subject']}",
                "session_id": f"ses-{scan.entities['session']}" if "session" in scan.entities else None,
                "filename": scan.path.name,
                "sequence": scan.sequence,
                "site": scan.site,
                "site_source": source,
            }
            for scan, source in zip(self.scans, self.sources, strict=True)
        ]
        write_tsv(path, rows, columns)

    def _headline(self) -> str:
        chosen = Counter(source for source in self.sources if source)
        read = ", ".join(
            f"{source} ({count} scan{'' if count == 1 else 's'})" for source, count in chosen.most_common()
        )
        return f"Sites read from {read}" if read else "No site found for any scan"


def assign_sites(bids_dir: Path, sessions: Sequence[Session], site_from: str) -> SiteTable:
    """Fill in the site of every scan.

    Args:
        bids_dir: Raw dataset.
        sessions: From :func:`bids_mmh.bids.inputs.find_sessions`.
        site_from: ``participants:COL``, ``sessions:COL``, ``scans:COL``, ``sidecar:FIELD``, ``entity:ses``,
            or ``auto``: all of them in that order, scan by scan, as far as the dataset has them.

    Returns:
        The sessions with sites. Unknown sites stay None: harmonizing does not need them. Where a sidecar or a
        table of one subject cannot be read, its scans say so in ``problem``.

    Raises:
        UsageError: When ``site_from`` has another form, or names a column that does not exist.
        BadDataError: When ``participants.tsv`` cannot be read.
    """
    bids_dir = bids_dir.absolute()
    scans = [scan for session in sessions for scan in session.scans]
    reason = None
    if site_from == "auto":
        sources = automatic_sources(bids_dir)
        found = [_find_site(scan, sources) for scan in scans]
        found, reason = _with_sessions(found, bids_dir)
    else:
        source = named_source(bids_dir, site_from, scans)
        found = [_find_site(scan, [source]) for scan in scans]
    _warn_of_lookalikes(one.scan.site for one in found if one.scan.site)
    filled = iter(one.scan for one in found)
    return SiteTable(
        tuple(replace(session, scans=tuple(next(filled) for _ in session.scans)) for session in sessions),
        tuple(one.source for one in found),
        reason,
    )


@dataclass(frozen=True)
class _Found:
    """A scan with its site, and where that was read."""

    scan: Scan
    source: str | None


def _find_site(scan: Scan, sources: Sequence[Source]) -> _Found:
    try:
        answers = (source(scan) for source in sources)
        site, name = next((answer for answer in answers if answer is not None), (None, None))
    except BadDataError as error:  # one subject's sidecar or table must not stop the others
        return _Found(replace(scan, problem=str(error)), None)
    return _Found(replace(scan, site=site), name)


def _with_sessions(found: Sequence[_Found], bids_dir: Path) -> tuple[list[_Found], str | None]:
    """Take sessions for sites where nothing else says and scanners do; give the reason as well."""
    unknown = [one.scan for one in found if one.scan.site is None and one.scan.problem is None]
    sessions = sessions_that_are_sites(bids_dir, unknown)
    filled = []
    for one in found:
        label = one.scan.entities.get("session")
        is_site = one.scan.site is None and one.scan.problem is None and label in sessions.sites
        filled.append(_Found(replace(one.scan, site=label), "entity:ses") if is_site else one)
    return filled, sessions.reason


def _warn_of_lookalikes(sites: Iterable[str]) -> None:
    """Warn of names such as ``Site A`` and ``site_a``, which split one scanner in two."""
    for names in lookalikes(sites):
        LOGGER.warning(
            "The site names %s differ only in case, spaces or punctuation and are kept apart: "
            "give them one spelling if they are one site.",
            " and ".join(f"'{name}'" for name in names),
        )


def lookalikes(sites: Iterable[str]) -> list[list[str]]:
    """Group names that differ only in case, spaces or punctuation; names of their own are left out."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for site in sites:
        spellings[re.sub(r"[\W_]+", "", site).casefold()].add(site)
    return [sorted(names) for names in spellings.values() if len(names) > 1]
