"""The end of a run: what came of its scans, on the terminal, as a table and as an exit code."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bids_mmh.bids.atomic import write_tsv
from bids_mmh.derivatives.outputs import OUTPUTS
from bids_mmh.errors import ExitCode
from bids_mmh.participant.outcome import Outcome, Status

logger = logging.getLogger(__name__)

COLUMNS = ("session", "scan", "status", "reason", "file")
_UNDONE = (Status.FAILED, Status.UNFINISHED)
_LISTED = 10  # so many scans of a kind are named on the terminal; all are in the table


def conclude(outcomes: Sequence[Outcome], output_dir: Path, log_file: Path | None) -> ExitCode:
    """Log the summary of a run and write it as a table beside the log.

    Args:
        outcomes: what came of each scan of the run; without any nothing is said.
        output_dir: output folder.
        log_file: log of the run; None for no table.

    Returns:
        0 when all is well, else the code of the first scan that is not done, or whose input is broken.
    """
    if not outcomes:
        return ExitCode.OK
    sessions = {outcome.session for outcome in outcomes}
    undone = {outcome.session for outcome in outcomes if outcome.status in _UNDONE}
    counts = Counter(outcome.status for outcome in outcomes)
    logger.info(
        "%d of %d sessions done; of their scans %s.",
        len(sessions) - len(undone),
        len(sessions),
        ", ".join(f"{counts[status]} {status}" for status in Status if counts[status]),
    )
    for status in (Status.FLAGGED, Status.FAILED):
        _list([outcome for outcome in outcomes if outcome.status == status], output_dir)
    if log_file is not None:
        table = OUTPUTS["summary"].path(output_dir, run=log_file.stem)
        write_tsv(table, [_row(outcome, output_dir) for outcome in outcomes], COLUMNS)
        logger.info("Summary: %s", table)
    return next((outcome.code for outcome in outcomes if outcome.code != ExitCode.OK), ExitCode.OK)


def _list(outcomes: Sequence[Outcome], output_dir: Path) -> None:
    for outcome in outcomes[:_LISTED]:
        row = _row(outcome, output_dir)
        see = f" See {row['file']}." if row["file"] else ""
        logger.info("%s: %s: %s%s", outcome.status, outcome.scan or outcome.session, outcome.reason, see)
    if len(outcomes) > _LISTED:
        logger.info("%s: %d more, see the table.", outcomes[0].status, len(outcomes) - _LISTED)


def _row(outcome: Outcome, output_dir: Path) -> dict[str, str | None]:
    file = outcome.file
    if file is not None and file.is_relative_to(output_dir):
        file = file.relative_to(output_dir)
    return {
        "session": outcome.session,
        "scan": outcome.scan,
        "status": outcome.status.value,
        "reason": outcome.reason,
        "file": file.as_posix() if file else None,
    }
