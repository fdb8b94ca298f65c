"""The sessions of a run, handed out one by one, and what came of them."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bids_mmh.derivatives.jobs import SessionJob
from bids_mmh.errors import BidsMmhError, ExitCode, TryAgainError
from bids_mmh.participant.outcome import Outcome, Status, same_for_all, session_outcomes
from bids_mmh.participant.report import write_session_page
from bids_mmh.participant.workflow import session_graph
from bids_mmh.runtime.crashes import Failure, explain
from bids_mmh.runtime.locks import session_lock
from bids_mmh.runtime.progress import Progress
from bids_mmh.runtime.work_folder import clean_session

if TYPE_CHECKING:
    from nipype import Workflow

logger = logging.getLogger(__name__)

BUSY = "another run is working on it: run again when that has ended."


class SessionQueue:
    """Locks each session when it is its turn, says how it ended, and leaves it to other runs again.

    Args:
        jobs: sessions that are not done.
        device: where the model runs.
        progress: counts the sessions that are over.
        outcomes: takes what came of each scan.
    """

    def __init__(
        self, jobs: Sequence[SessionJob], device: str, progress: Progress, outcomes: list[Outcome]
    ) -> None:
        self._device, self._progress, self._outcomes = device, progress, outcomes
        self._waiting = iter(jobs)
        self._running: dict[str, tuple[SessionJob, ExitStack]] = {}

    def workflows(self) -> Iterator["Workflow"]:
        """The graph of each session, made when it is asked for; sessions of other runs come last."""
        busy = []
        for job in self._waiting:
            claim = _claim(job)
            if claim is None:
                busy.append(job)
            else:
                yield from self._begin(job, claim)
        for job in busy:
            claim = _claim(job)
            if claim is None:
                logger.error("%s: %s", job.session.label, BUSY)
                self._end(job, same_for_all(job, Status.UNFINISHED, BUSY, ExitCode.TRY_AGAIN))
            else:
                yield from self._begin(job, claim)

    def ended(self, name: str, failures: Sequence[Failure]) -> None:
        """Take note that a session is over.

        Args:
            name: its name in the graph.
            failures: nodes of it that failed.
        """
        job, claim = self._running.pop(name)
        with claim:
            outcomes = session_outcomes(job, failures)
            if all(outcome.code == ExitCode.OK for outcome in outcomes):
                if job.settings.clean_workdir:
                    clean_session(job.settings.work_dir, name)
            else:
                _report_failure(job, outcomes)
            self._end(job, outcomes)

    def stop(self) -> None:
        """Give back the sessions under way, and count what was not begun as unfinished."""
        for job, claim in self._running.values():
            with claim:
                self._outcomes += session_outcomes(job, ())
        self._running.clear()
        for job in self._waiting:
            sentence = "It was not begun when the run stopped: run again."
            self._outcomes += same_for_all(job, Status.UNFINISHED, sentence, ExitCode.TRY_AGAIN)

    def _begin(self, job: SessionJob, claim: ExitStack) -> Iterator["Workflow"]:
        if job.is_done():  # another run may have ended just before the lock
            with claim:
                self._end(job, same_for_all(job, Status.SKIPPED, "Another run has done it.", ExitCode.OK))
            return
        try:
            workflow = session_graph(job, self._device)
        except Exception as error:  # of this session: it must not stop the others
            with claim:
                self._cannot_begin(job, error)
            return
        self._running[job.node_name] = (job, claim)
        yield workflow

    def _cannot_begin(self, job: SessionJob, error: Exception) -> None:
        sentence, code = explain(type(error).__name__, str(error), job.settings.output_dir / "logs")
        if not isinstance(error, BidsMmhError):
            logger.error("The graph of %s cannot be made", job.session.label, exc_info=error)
        outcomes = list(same_for_all(job, Status.FAILED, sentence, code))
        _report_failure(job, outcomes)
        self._end(job, outcomes)

    def _end(self, job: SessionJob, outcomes: Iterable[Outcome]) -> None:
        own = list(outcomes)
        self._outcomes += own
        self._progress.session_ended(job, is_done=all(outcome.code == ExitCode.OK for outcome in own))


def _claim(job: SessionJob) -> ExitStack | None:
    """The lock of a session, None where another run has it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(session_lock(job))
        except TryAgainError:
            return None
        return stack.pop_all()


def _report_failure(job: SessionJob, outcomes: Sequence[Outcome]) -> None:
    """Log one sentence for each thing that went wrong, and write them on the session's page."""
    wrong = (outcome.reason for outcome in outcomes if outcome.code != ExitCode.OK)
    sentences = tuple(dict.fromkeys(sentence for sentence in wrong if sentence))
    for sentence in sentences:
        logger.error("%s: %s", job.session.label, sentence)
    try:
        write_session_page(job, sentences)
    except Exception as error:  # a page that fails must not hide what happened to the other sessions
        logger.warning("The page of %s could not be written: %s", job.session.label, error)
