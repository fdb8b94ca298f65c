"""After a graph has run: what failed, said in sentences, on pages and by the exit code."""

import logging
from collections.abc import Sequence

from bids_mmh.derivatives.jobs import ScanJob, SessionJob
from bids_mmh.errors import ExitCode
from bids_mmh.participant.report import write_session_page
from bids_mmh.runtime.crashes import Failure

logger = logging.getLogger(__name__)


def report_outcome(jobs: Sequence[SessionJob], failures: Sequence[Failure]) -> ExitCode:
    """Log one sentence for each thing that went wrong and write the pages of those sessions.

    Returns:
        0 when every session is done, else the code of the first failure.
    """
    codes = []
    for job in jobs:
        own = [failure for failure in failures if failure.session == job.node_name]
        if own or not job.is_done():
            sentences = [*dict.fromkeys(failure.sentence for failure in own), *_left_undone(job, own)]
            for sentence in sentences:
                logger.error("%s: %s", job.session.label, sentence)
            _write_partial_page(job, tuple(sentences))
            codes.append(own[0].code if own else ExitCode.TRY_AGAIN)
    logger.info("%d of %d sessions done.", len(jobs) - len(codes), len(jobs))
    return codes[0] if codes else ExitCode.OK


def report_busy(jobs: Sequence[SessionJob]) -> ExitCode:
    """Log which sessions another run is working on; returns the exit code."""
    for job in jobs:
        logger.error("%s: another run is working on it: run again when that has ended.", job.session.label)
    return ExitCode.TRY_AGAIN if jobs else ExitCode.OK


def _left_undone(job: SessionJob, failures: Sequence[Failure]) -> list[str]:
    """Say why scans without a failure of their own are not done."""
    failed = {failure.node.partition("_")[2] for failure in failures}
    anchor = job.scans[0].anchor
    sentences = []
    for scan in job.scans:
        if job.keys[scan.scan.path] in failed or scan.is_done():
            continue
        if job.keys[anchor.path] in failed:
            sentences.append(_without_anchor(scan))
        else:
            sentences.append(f"{scan.scan.path.name} was not finished when the run stopped: run again.")
    return sentences


def _without_anchor(scan: ScanJob) -> str:
    name, anchor = scan.scan.path.name, scan.anchor
    alone = (
        f", or run it alone with --sequences {scan.scan.sequence}"
        if scan.scan.sequence != anchor.sequence
        else ""
    )
    return (
        f"{name} was not processed because its session is registered by {anchor.path.name}, which failed: "
        f"mend or leave out that scan{alone}."
    )


def _write_partial_page(job: SessionJob, sentences: tuple[str, ...]) -> None:
    try:
        write_session_page(job, sentences)
    except Exception as error:  # a page that fails must not hide what happened to the other sessions
        logger.warning("The page of %s could not be written: %s", job.session.label, error)
