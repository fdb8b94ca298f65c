"""When each step of a run was carried out, and what memory it took."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nipype import Node

from bids_mmh.bids.atomic import write_text, write_tsv
from bids_mmh.reports.figures.timeline import Step, timeline

COLUMNS = ("session", "step", "host", "start_s", "end_s", "threads", "gpu", "memory_gb", "status")


class StepTimes:
    """Nipype's ``status_callback``: keeps the times of the steps that a run carries out, for a picture.

    Steps whose results were in the work folder already do not count.
    """

    def __init__(self) -> None:
        self._zero = time.time()
        self._began: dict[Node, float] = {}
        self.steps: list[Step] = []

    def __call__(self, node: Node, status: str) -> None:
        """Take note that ``node`` came to ``status``: start, end or exception."""
        now = time.time() - self._zero
        if status == "start":
            self._began[node] = now
        elif node in self._began:
            step = self._step(node, self._began.pop(node), now, status)
            if step is not None:
                self.steps.append(step)

    def write(self, table: Path, picture: Path) -> None:
        """Write the steps as a table, and draw them.

        Args:
            table: ``.tsv`` file.
            picture: ``.svg`` file.
        """
        write_tsv(table, [_row(step) for step in self.steps], COLUMNS)
        write_text(picture, timeline(self.steps).decode("utf-8"))

    def _step(self, node: Node, began: float, ended: float, status: str) -> Step | None:
        """A step by the clock of its own process where that is known, else by that of this one."""
        runtime = _runtime(node)
        if runtime is not None:
            start, end = (_seconds(value) - self._zero for value in (runtime.startTime, runtime.endTime))
            if end < began:  # of an earlier run
                return None
            began, ended = max(start, 0.0), end
        return Step(
            session=node.fullname.split(".")[-2],
            name=node.name,
            host=getattr(runtime, "hostname", "") or "",
            start=began,
            end=ended,
            threads=node.n_procs,
            on_gpu=node.is_gpu_node(),
            memory_gb=getattr(runtime, "mem_peak_gb", None),
            failed=status == "exception",
        )


def _runtime(node: Node) -> Any:  # noqa: ANN401
    """What the node's process knew when it ended; None where it left nothing."""
    try:
        return node.result.runtime
    except Exception:  # Nipype raises whatever unpickling raises, or that there is no file
        return None


def _seconds(stamp: str) -> float:
    """Seconds since 1970 of a time in ISO format, which Nipype writes in UTC without saying so."""
    moment = datetime.fromisoformat(stamp)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _row(step: Step) -> dict[str, object]:
    return {
        "session": step.session,
        "step": step.name,
        "host": step.host or None,
        "start_s": f"{step.start:.2f}",
        "end_s": f"{step.end:.2f}",
        "threads": step.threads,
        "gpu": int(step.on_gpu),
        "memory_gb": None if step.memory_gb is None else f"{step.memory_gb:.2f}",
        "status": "failed" if step.failed else "done",
    }
