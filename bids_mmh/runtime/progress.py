"""What a run is doing, in one readable line for each step and session, and how long it will take."""

import logging
import time
from collections.abc import Callable, Sequence

from nipype import Node

from bids_mmh.derivatives.jobs import SessionJob

logger = logging.getLogger(__name__)

STEPS = {
    "load": "reading",
    "brain": "finding the brain",
    "anchor": "aligning to the session's anchor",
    "bias": "estimating the bias field",
    "template": "aligning to the template",
    "check": "checking the alignment",
    "finish": "resampling",
    "harmonize": "harmonizing",
    "write": "writing derivatives",
}


class Progress:
    """Nipype's ``status_callback``: says which scan is at which step, and counts sessions.

    Args:
        jobs: the sessions of the run.
    """

    def __init__(self, jobs: Sequence[SessionJob]) -> None:
        self._scans = {(job.node_name, key): path.name for job in jobs for path, key in job.keys.items()}
        self._total, self._done = len(jobs), 0
        self._time_left = TimeLeft(sum(len(job.scans) for job in jobs))

    def __call__(self, node: Node, status: str) -> None:
        """Take note that ``node`` came to ``status``: start, end or exception."""
        session, _, name = node.fullname.rpartition(".")
        session = session.rpartition(".")[-1]
        step, _, key = name.partition("_")
        if status == "start":
            self._time_left.step_began(session, name)
            if step in STEPS:
                logger.info("%s: %s", self._scans.get((session, key), session), STEPS[step])
        else:
            self._time_left.step_ended(session, name)

    def session_ended(self, job: SessionJob, *, is_done: bool) -> None:
        """Take note that a session is over, and say so if all of it is done."""
        self._time_left.session_ended(job.node_name, len(job.scans))
        if is_done:
            self._done += 1
            left = self._time_left.seconds()
            logger.info(
                "%s: finished (%d of %d sessions%s)",
                job.session.label,
                self._done,
                self._total,
                f", about {_duration(left)} left" if left else "",
            )


LAST_SESSION = 0.75  # how much of its length the last session is waited for: half of it to all


class TimeLeft:
    """Estimates from what is over how long the rest of a run will take.

    The rate at which sessions end does not tell: the first ones end late, and several at once. So work is
    counted in seconds of steps, also that of sessions under way, and the rest is taken to need as much a scan
    as the sessions that are over, at the same rate. At the end processes wait for the last session.

    Args:
        scans: how many there are in the run.
        clock: gives seconds.
    """

    def __init__(self, scans: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._scans_left, self._scans_over, self._clock = scans, 0, clock
        self._first: float | None = None
        self._began: dict[tuple[str, str], float] = {}
        self._work: dict[str, float] = {}  # of sessions under way
        self._work_over, self._sessions_over = 0.0, 0

    def step_began(self, session: str, step: str) -> None:
        """Take note that a step of a session begins."""
        now = self._clock()
        self._first = now if self._first is None else self._first
        self._began[session, step] = now

    def step_ended(self, session: str, step: str) -> None:
        """Take note that it ended; steps that never began, since what they need is missing, do not count."""
        began = self._began.pop((session, step), None)
        if began is not None:
            self._work[session] = self._work.get(session, 0.0) + self._clock() - began

    def session_ended(self, session: str, scans: int) -> None:
        """Take note that nothing of a session is left, and how many scans it had."""
        work = self._work.pop(session, None)
        self._scans_left -= scans
        if work is not None:
            self._work_over += work
            self._scans_over += scans
            self._sessions_over += 1

    def seconds(self) -> float | None:
        """Seconds until the end, 0 when all is over; None as long as there is nothing to estimate it from."""
        under_way = sum(self._work.values())
        elapsed = self._clock() - self._first if self._first is not None else 0.0
        if not (self._work_over and elapsed):
            return None
        if not self._scans_left:
            return 0.0
        expected = self._work_over / self._scans_over * self._scans_left
        at_a_time = max((self._work_over + under_way) / elapsed, 1.0)
        waiting = LAST_SESSION * self._work_over / self._sessions_over * (1 - 1 / at_a_time)
        return max(expected - under_way, 0.0) / at_a_time + waiting


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.0f} h"
