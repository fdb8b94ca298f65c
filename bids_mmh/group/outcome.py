"""What came of the scans of a study at the group level, for the summary of the run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bids_mmh.errors import ExitCode
from bids_mmh.participant.outcome import Outcome, Status
from bids_mmh.reports.group_table import ScanRow


def study_outcomes(rows: Sequence[ScanRow], failed: Sequence[Outcome], output_dir: Path) -> Iterator[Outcome]:
    """Say what came of every scan that is listed.

    Args:
        rows: the scans, as read after all work.
        failed: sessions that could not be harmonized, without naming scans.
        output_dir: output folder.

    Yields:
        The sessions that failed, then the scans of all others.
    """
    yield from failed
    sessions = {outcome.session for outcome in failed}
    for row in rows:
        label = "_".join(filter(None, (row.participant_id, row.session_id)))
        if label not in sessions:
            yield _outcome(row, label, output_dir)


def _outcome(row: ScanRow, session: str, output_dir: Path) -> Outcome:
    place = row.page or row.sidecar
    file = output_dir / place if place else None
    if row.problem is not None:
        return Outcome(session, row.scan, Status.FAILED, row.problem, file, ExitCode.DATA)
    if row.warnings:
        return Outcome(session, row.scan, Status.FLAGGED, " ".join(row.warnings), file)
    return Outcome(session, row.scan, Status.DONE, file=file)
