"""What came of each scan of a run, and why."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bids_mmh.derivatives.jobs import ScanJob, SessionJob
from bids_mmh.derivatives.sidecar import Sidecar
from bids_mmh.errors import ExitCode
from bids_mmh.runtime.crashes import Failure


class Status(StrEnum):
    """What came of a scan."""

    DONE = "done"
    FLAGGED = "flagged"  # done, but somebody should look at it
    SKIPPED = "skipped"  # done by an earlier run
    FAILED = "failed"
    UNFINISHED = "unfinished"  # running again will do it


@dataclass(frozen=True)
class Outcome:
    """A row of a run's summary.

    Attributes:
        session: label of the session.
        scan: name of the raw file; None for what concerns a session but none of its scans, such as its page.
        status: what came of it.
        reason: why it is not simply done, in sentences.
        file: what to look at.
        code: exit code that fits: that of a flagged scan is not 0 where something of its input is broken.
    """

    session: str
    scan: str | None
    status: Status
    reason: str | None = None
    file: Path | None = None
    code: ExitCode = ExitCode.OK


def session_outcomes(job: SessionJob, failures: Sequence[Failure]) -> list[Outcome]:
    """Say what came of each scan of a session.

    Args:
        job: a session that this run has worked on.
        failures: the nodes of it that failed.
    """
    by_scan: dict[str, list[Failure]] = {key: [] for key in job.keys.values()}
    others: list[Failure] = []
    for failure in failures:
        by_scan.get(failure.node.partition("_")[2], others).append(failure)
    outcomes = [_scan_outcome(job, scan, by_scan) for scan in job.scans]
    outcomes += [_failed(job, None, others)] if others else []
    if all(outcome.code == ExitCode.OK for outcome in outcomes) and not job.page.is_file():
        outcomes.append(_unfinished(job, None, f"{job.page.name} was not written: run again."))
    return outcomes


def same_for_all(job: SessionJob, status: Status, reason: str, code: ExitCode) -> Iterator[Outcome]:
    """The outcome of a session that this run did no work on.

    Args:
        job: the session.
        status: what came of it.
        reason: why.
        code: exit code that fits.
    """
    for scan in job.scans:
        yield Outcome(job.session.label, scan.scan.path.name, status, reason, code=code)


def without_site(outcomes: Iterable[Outcome], jobs: Iterable[SessionJob]) -> Iterator[Outcome]:
    """Flag scans whose sidecar or table could not be read: they are done, but have no site.

    Args:
        outcomes: what came of the scans.
        jobs: the sessions, with what is wrong.
    """
    problems = {scan.scan.path.name: scan.scan.problem for job in jobs for scan in job.scans}
    for outcome in outcomes:
        problem = problems.get(outcome.scan or "")
        if problem and outcome.code == ExitCode.OK:
            reasons = (f"{problem} The scan has no site.", outcome.reason)
            reason = " ".join(filter(None, reasons))
            yield replace(outcome, status=Status.FLAGGED, reason=reason, code=ExitCode.DATA)
        else:
            yield outcome


def _scan_outcome(job: SessionJob, scan: ScanJob, by_scan: dict[str, list[Failure]]) -> Outcome:
    name, label = scan.scan.path.name, job.session.label
    if failures := by_scan[job.keys[scan.scan.path]]:
        return _failed(job, name, failures)
    if scan.is_done():
        warnings = _warnings(scan)
        status = Status.FLAGGED if warnings else Status.DONE
        return Outcome(label, name, status, " ".join(warnings) or None, job.page)
    if failures := by_scan[job.keys[scan.anchor.path]]:
        first = failures[0]
        return Outcome(label, name, Status.FAILED, _without_anchor(scan), first.crash_file, first.code)
    return _unfinished(job, name, f"{name} was not finished when the run stopped: run again.")


def _failed(job: SessionJob, scan: str | None, failures: Sequence[Failure]) -> Outcome:
    sentences = " ".join(dict.fromkeys(failure.sentence for failure in failures))
    first = failures[0]
    return Outcome(job.session.label, scan, Status.FAILED, sentences, first.crash_file, first.code)


def _unfinished(job: SessionJob, scan: str | None, sentence: str) -> Outcome:
    return Outcome(job.session.label, scan, Status.UNFINISHED, sentence, code=ExitCode.TRY_AGAIN)


def _warnings(scan: ScanJob) -> tuple[str, ...]:
    kind = "preproc" if scan.model is None else "harmonized"
    return Sidecar.read(scan.sidecar(f"mni_{kind}")).quality_warnings or ()


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
