"""Harmonize a study from its preprocessed derivatives: weights are loaded once, the work is shared."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bids_mmh.derivatives.jobs import ScanJob, SessionJob
from bids_mmh.derivatives.models import ModelReference
from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import BidsMmhError
from bids_mmh.group.jobs import coarser, derivatives_of, session_jobs
from bids_mmh.participant.harmonize import choose_device, harmonize_image
from bids_mmh.participant.outcome import Outcome, Status
from bids_mmh.runtime.crashes import explain
from bids_mmh.runtime.process_pool import process_pool
from bids_mmh.runtime.processes import Process, device_of
from bids_mmh.runtime.work_queue import claim_each
from bids_mmh.settings import Settings

if TYPE_CHECKING:
    from bids_mmh.method.harmonizer import Harmonizer

logger = logging.getLogger(__name__)

_WRITING = ("bids_mmh.participant.outputs", "bids_mmh.participant.report", "bids_mmh.reports.subject")


def harmonize_study(
    settings: Settings, model: ModelReference, scans: Sequence[DerivedScan], process: Process
) -> list[Outcome]:
    """Harmonize every scan that this model has not harmonized yet, and write its session's page anew.

    Processes and runs that do this at the same time share the sessions; each returns when all are done.

    Args:
        settings: options of the run.
        model: the model.
        scans: preprocessed scans of the study.
        process: which one of a run this is; it gets a GPU of its own.

    Returns:
        The sessions of this process that failed, in order of time; they are logged too.

    Raises:
        UsageError: the model does not know a sequence, or its grid is finer than that of the scans.
    """
    with TemporaryDirectory(prefix="bids-mmh-") as folder:
        jobs = session_jobs(settings, model, scans, Path(folder))
        waiting = [job for job in jobs if not job.is_done()]
        logger.info("%s: %d of %d sessions to harmonize.", model.name, len(waiting), len(jobs))
        if not waiting:
            return []
        return _Harmonizing(settings, model, process, Path(folder), len(waiting)).run(waiting)


class _Harmonizing:
    """One process's share: it runs the model, while others write what came out of it before."""

    def __init__(
        self, settings: Settings, model: ModelReference, process: Process, folder: Path, total: int
    ) -> None:
        self.settings, self.model, self.folder = settings, model, folder
        self.total, self.done = total, 0
        self.begin = process.rank / process.count
        self.device = device_of(choose_device(settings.device), process)
        self.threads, self.writers = cores(settings, self.device, process)
        self.failed: list[Outcome] = []
        self.writing: list[tuple[SessionJob, ExitStack, Future[None]]] = []

    def run(self, jobs: Sequence[SessionJob]) -> list[Outcome]:
        """Take session after session until none is left; returns those that failed."""
        harmonizer = self._load()
        with ExitStack() as stack:
            pool = None
            if self.writers:
                pool = stack.enter_context(process_pool(self.writers, preload=_WRITING))
            for job, claim in self._claims(jobs):
                try:
                    works = self._harmonize(harmonizer, job)
                    written = pool.submit(write_session, job, works) if pool else None
                except Exception as error:
                    self._fail(job, claim, error)
                    continue
                if written is None:
                    self._finish(job, claim, partial(write_session, job, works))
                else:
                    self.writing.append((job, claim, written))
                    self._collect(most=2 * self.writers)
            self._collect(most=0)
        return self.failed

    def _claims(self, jobs: Sequence[SessionJob]) -> Iterator[tuple[SessionJob, ExitStack]]:
        logs = self.settings.output_dir / "logs"
        return claim_each(
            jobs,
            lock=lambda job: logs / f".{job.node_name}.lock",  # the one that the participant level holds
            is_done=SessionJob.is_done,
            first=int(self.begin * len(jobs)),
        )

    def _load(self) -> "Harmonizer":
        import torch

        from bids_mmh.method.harmonizer import Harmonizer

        torch.set_num_threads(self.threads)
        return Harmonizer.from_pretrained(self.model.folder, self.device)

    def _harmonize(self, harmonizer: "Harmonizer", job: SessionJob) -> list[tuple[ScanJob, dict[str, Any]]]:
        """Run the model on the scans of a session that it has not been run on."""
        works = []
        for number, scan in enumerate(job.scans):
            if not scan.is_done():
                if not scan.sidecar("mni_preproc").is_file():
                    coarser(scan, self.folder)
                files = derivatives_of(scan)
                out_file = self.folder / f"{job.node_name}_{number}.nii"
                made = harmonize_image(
                    harmonizer,
                    files["mni_preproc"],
                    files["mni_mask"],
                    sequence=scan.scan.sequence,
                    subject=f"sub-{job.session.subject}",
                    out_file=out_file,
                )
                works.append((scan, files | made))
        return works

    def _collect(self, most: int) -> None:
        """Take note of sessions that were written, and wait until at most so many are not."""
        still = []
        for place, (job, claim, future) in enumerate(self.writing):
            if future.done() or place < len(self.writing) - most:
                self._finish(job, claim, future.result)
            else:
                still.append((job, claim, future))
        self.writing = still

    def _finish(self, job: SessionJob, claim: ExitStack, write: Any) -> None:  # noqa: ANN401
        try:
            write()
        except Exception as error:
            self._fail(job, claim, error)
            return
        self.done += 1
        logger.info("%s: harmonized (%d of %d sessions).", job.session.label, self.done, self.total)
        claim.close()

    def _fail(self, job: SessionJob, claim: ExitStack, error: Exception) -> None:
        logs = self.settings.output_dir / "logs"
        sentence, code = explain(type(error).__name__, str(error), logs)
        logger.error("%s: %s", job.session.label, sentence)
        if not isinstance(error, BidsMmhError):
            logger.error("Harmonizing %s failed", job.session.label, exc_info=error)
        self.failed.append(Outcome(job.session.label, None, Status.FAILED, sentence, logs, code))
        claim.close()


def cores(settings: Settings, device: str, process: Process) -> tuple[int, int]:
    """Threads of the model and processes that write beside it.

    On a CPU the model takes longer than the writing, on a GPU it takes next to no core.

    Args:
        settings: options of the run; ``nprocs`` is for all processes of the machine.
        device: of the model.
        process: which one of a run this is.
    """
    cores = max(1, settings.nprocs // process.local_count)
    writers = max(cores // 3, int(cores > 1)) if device == "cpu" else cores - 1
    return min(cores - writers, settings.omp_nthreads), writers


def write_session(job: SessionJob, works: Sequence[tuple[ScanJob, Mapping[str, Any]]]) -> None:
    """Write the harmonized derivatives of a session's scans, then its page."""
    from bids_mmh.participant.outputs import write_harmonized
    from bids_mmh.participant.report import write_session_page

    for scan, work in works:
        write_harmonized(scan, work)
        Path(work["harmonized"]).unlink()
    write_session_page(job)
