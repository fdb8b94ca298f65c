"""Find the sessions of a raw dataset and the scans of each that are to be harmonized."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from bids_mmh.bids.filters import Filters, matches
from bids_mmh.bids.ignore import ignored_in
from bids_mmh.bids.index import open_layout, subject_labels
from bids_mmh.bids.ordinary import not_ordinary
from bids_mmh.bids.session import Scan, Session
from bids_mmh.errors import NoInputError, NoMatchError

LOGGER = logging.getLogger(__name__)

_EXTENSIONS = (".nii.gz", ".nii")
# Of several scans of one sequence the plainest name wins: no contrast agent, no acquisition variant, ...
_PREFERENCE = ("ceagent", "acquisition", "reconstruction", "part", "echo", "inv")


def find_sessions(
    bids_dir: Path,
    *,
    participant_labels: Sequence[str] = (),
    session_labels: Sequence[str] = (),
    filters: Filters | None = None,
    sequences: Sequence[str] = ("T1w", "T2w"),
    all_runs: bool = False,
    database_dir: Path | None = None,
) -> list[Session]:
    """Find what to work on.

    Args:
        bids_dir: Raw dataset.
        participant_labels: Subjects without ``sub-``; all when empty.
        session_labels: Sessions without ``ses-``; all when empty. Scans without a session then drop out.
        filters: From :func:`bids_mmh.bids.filters.load_filters`.
        sequences: Suffixes to look for; their order is the order of the scans in a session.
        all_runs: Take every run and acquisition, not one scan a sequence.
        database_dir: Where to keep the index for later runs, see :func:`bids_mmh.bids.index.open_layout`.

    Returns:
        Sessions sorted by subject and session, each with at least one scan. A session without a T1w is
        a session like any other.

    Raises:
        NoMatchError: When a participant or session does not exist, or the filters leave nothing.
        NoInputError: When there is no scan of these sequences though nothing was filtered.
    """
    bids_dir = bids_dir.absolute()
    _check_labels("participant", participant_labels, subject_labels(bids_dir), bids_dir)
    layout = open_layout(bids_dir, subjects=participant_labels, database_dir=database_dir)
    listed = _list_scans(layout, bids_dir, sequences)
    scans = _ordinary(_not_ignored(listed, bids_dir), filters or {})
    left_out = len(listed) - len(scans)
    if participant_labels:
        scans = [scan for scan in scans if scan.entities["subject"] in participant_labels]
    if session_labels:
        _check_labels("session", session_labels, _values(scans, "session"), bids_dir)
        scans = [scan for scan in scans if scan.entities.get("session") in session_labels]
    if filters:
        scans = [scan for scan in scans if matches(scan.entities, filters.get(scan.sequence, {}))]
    if not scans:
        filtered = bool(participant_labels or session_labels or filters)
        raise _nothing_found(bids_dir, sequences, filtered, left_out)
    return _group(scans, sequences, all_runs)


def _list_scans(layout: Any, bids_dir: Path, sequences: Sequence[str]) -> list[Scan]:  # noqa: ANN401
    """List the scans of the sequences with one query: each further one costs seconds in big datasets."""
    from bids.layout import parse_file_entities
    from bids.layout.models import Config

    # Parsed again below the root: pybids reads the whole path, so a dataset kept in a folder that is itself
    # called sub-something would get its entities from there.
    config = [Config.load("bids")]
    scans = []
    for path in layout.get(suffix=list(sequences), extension=list(_EXTENSIONS), return_type="filename"):
        below_root = f"/{Path(path).relative_to(bids_dir).as_posix()}"
        entities = {key: str(value) for key, value in parse_file_entities(below_root, config=config).items()}
        scans.append(Scan(Path(path), entities["suffix"], entities))
    return scans


def _not_ignored(scans: Iterable[Scan], bids_dir: Path) -> list[Scan]:
    ignored = ignored_in(bids_dir)
    kept = []
    for scan in scans:
        if ignored(scan.path):
            LOGGER.warning("Leaving out %s: .bidsignore lists it.", scan.path.name)
        else:
            kept.append(scan)
    return kept


def _ordinary(scans: Iterable[Scan], filters: Filters) -> list[Scan]:
    """Keep the ordinary images, with a word on each of the others."""
    kept = []
    for scan in scans:
        reason = not_ordinary(scan.path.name, filters.get(scan.sequence, {}))
        if reason is None:
            kept.append(scan)
        else:
            LOGGER.warning("Leaving out %s: %s.", scan.path.name, reason)
    return kept


def _group(scans: Iterable[Scan], sequences: Sequence[str], all_runs: bool) -> list[Session]:
    by_session: dict[tuple[str, str], list[Scan]] = defaultdict(list)
    for scan in scans:
        by_session[scan.entities["subject"], scan.entities.get("session", "")].append(scan)
    return [
        Session(subject, session or None, tuple(_choose(found, sequences, all_runs)))
        for (subject, session), found in sorted(by_session.items())
    ]


def _choose(scans: list[Scan], sequences: Sequence[str], all_runs: bool) -> list[Scan]:
    """Order the scans of one session; keep the first of each sequence, or all of them."""
    ranked = sorted(scans, key=lambda scan: (sequences.index(scan.sequence), *_rank(scan)))
    chosen = []
    for _, group in groupby(ranked, key=lambda scan: scan.sequence):
        first, *others = _without_twins(group)
        chosen += [first, *others] if all_runs else [first]
        if others and not all_runs:
            names = ", ".join(scan.path.name for scan in others)
            LOGGER.warning(
                "Using %s and leaving out %s: pass --all-runs or a filter to change that.",
                first.path.name,
                names,
            )
    return chosen


def _rank(scan: Scan) -> tuple[object, ...]:
    plainness = tuple(scan.entities.get(name, "") for name in _PREFERENCE)
    run = int(scan.entities.get("run", 0))
    return (*plainness, run, scan.path.name.removesuffix(".gz"), scan.path.suffix)


def _without_twins(scans: Iterable[Scan]) -> list[Scan]:
    """Keep one of the scans whose outputs would have the same names.

    That is of a pair that differs only in compression, or in a part of the name that is no entity of BIDS.
    """
    kept: dict[frozenset[tuple[str, str]], Scan] = {}
    for scan in scans:
        key = frozenset(item for item in scan.entities.items() if item[0] != "extension")
        if key in kept:
            LOGGER.warning("Using %s and leaving out %s, its copy.", kept[key].path.name, scan.path.name)
        kept.setdefault(key, scan)
    return list(kept.values())


def _values(scans: Iterable[Scan], entity: str) -> list[str]:
    return sorted({scan.entities[entity] for scan in scans if entity in scan.entities})


def _check_labels(kind: str, wanted: Sequence[str], known: Collection[str], bids_dir: Path) -> None:
    unknown = [label for label in wanted if label not in known]
    if not unknown:
        return
    examples = ", ".join(list(known)[:5])
    there = f"there are {len(known)}, such as {examples}" if known else "there are none"
    raise NoMatchError(f"No {kind} {', '.join(unknown)} in {bids_dir}: {there}; check --{kind}-label.")


def _nothing_found(
    bids_dir: Path, sequences: Sequence[str], filtered: bool, left_out: int
) -> NoMatchError | NoInputError:
    wanted = " or ".join(sequences)
    others = f" ({left_out} are left out, for the reasons above)" if left_out else ""
    if filtered:
        return NoMatchError(
            f"No {wanted} image in {bids_dir} passes the participant, session and file filters{others}: "
            "loosen them."
        )
    return NoInputError(
        f"{bids_dir} holds no {wanted} image in an anat folder{others}: check the path and --sequences."
    )
