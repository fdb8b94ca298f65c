"""One readable line for each step that a graph begins."""

import logging
from collections.abc import Sequence

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
    """Nipype's ``status_callback``: says which scan is at which step, and counts sessions."""

    def __init__(self, jobs: Sequence[SessionJob]) -> None:
        self._sessions = {job.node_name: job for job in jobs}
        self._scans = {(job.node_name, key): path.name for job in jobs for path, key in job.keys.items()}
        self._done = 0

    def __call__(self, node: Node, status: str) -> None:
        """Take note that ``node`` came to ``status``: start, end or exception."""
        session, _, name = node.fullname.rpartition(".")
        session = session.rpartition(".")[-1]
        step, _, key = name.partition("_")
        if status == "start" and step in STEPS:
            logger.info("%s: %s", self._scans.get((session, key), session), STEPS[step])
        # Nipype also ends nodes that it never ran because one before them failed.
        elif status == "end" and name == "page" and self._sessions[session].is_done():
            self._done += 1
            logger.info(
                "%s: finished (%d of %d sessions)",
                self._sessions[session].session.label,
                self._done,
                len(self._sessions),
            )
