"""The participant level: raw BIDS in, harmonized derivatives and a page per session out."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.derivatives.models import ModelReference, check_model, resolve_model
from bids_mmh.errors import ExitCode, NoInputError, UsageError
from bids_mmh.settings import EMBEDDED_MODEL, Settings

if TYPE_CHECKING:
    from bids_mmh.derivatives.jobs import SessionJob
    from bids_mmh.runtime.crashes import Failure

logger = logging.getLogger(__name__)


def run_participant(settings: Settings, log_file: Path | None = None) -> ExitCode:
    """Preprocess and harmonize every chosen session; what is already done is left alone.

    Args:
        settings: Options of the run.
        log_file: Log of the run; worker processes write to it, and the table of sites lies beside it.

    Returns:
        0 when every scan is done, else the code of the first failure; sessions do not stop each other.

    Raises:
        BidsMmhError: Where nothing can be done at all.
    """
    if settings.fit is not None:
        raise UsageError("--fit trains on the results of the participant level: give it to the group level.")
    from bids_mmh.runtime.locks import shared_lock
    from bids_mmh.runtime.work_folder import IN_USE, clean_shared_files

    with shared_lock(settings.work_dir / IN_USE):
        code = _run_sessions(settings, log_file)
    if settings.clean_workdir and code == ExitCode.OK:
        clean_shared_files(settings.work_dir)
    return code


def _run_sessions(settings: Settings, log_file: Path | None) -> ExitCode:
    from bids_mmh.participant.setup import find_jobs, write_dataset
    from bids_mmh.preprocess.template import find_template
    from bids_mmh.runtime.plugins import choose_plugin
    from bids_mmh.runtime.work_folder import TEMPLATES

    chosen = settings.model or EMBEDDED_MODEL
    model = None if settings.preproc_only else resolve_model(chosen, settings.output_dir)
    elsewhere = not choose_plugin(settings).is_local
    template = find_template(settings.template, settings.work_dir / TEMPLATES)
    logger.info("Template: %s", template.source)
    jobs = find_jobs(settings, model, template, sites_file=_beside(log_file, "_sites.tsv"))
    write_dataset(settings, model)
    pending = [job for job in jobs if not job.is_done()]
    only_pages = settings.boilerplate_only or settings.reports_only
    if not (pending or only_pages or settings.write_graph):
        _say_how_many(jobs, pending)
        return _report_problems(jobs)
    return _work(jobs, pending, elsewhere=elsewhere, log_file=log_file)


def _work(
    jobs: "Sequence[SessionJob]",
    pending: "Sequence[SessionJob]",
    *,
    elsewhere: bool,
    log_file: Path | None,
) -> ExitCode:
    """Do what is left to do; the first place that needs to know the device, and so PyTorch."""
    from bids_mmh.participant.harmonize import choose_device
    from bids_mmh.participant.setup import write_citation

    settings, model = jobs[0].settings, jobs[0].scans[0].model
    device = choose_device(settings.device, elsewhere=elsewhere) if model else "cpu"
    write_citation(settings, model, jobs[0].template, device)
    if settings.boilerplate_only:
        return ExitCode.OK
    if settings.write_graph:
        _draw(jobs[0], device)
    if settings.reports_only:
        return _rewrite_pages(jobs)
    _say_how_many(jobs, pending)
    code = _process(pending, model, device, log_file) if pending else ExitCode.OK
    return code or _report_problems(jobs)


def _say_how_many(jobs: "Sequence[SessionJob]", pending: "Sequence[SessionJob]") -> None:
    logger.info("%d sessions: %d done before, %d to do.", len(jobs), len(jobs) - len(pending), len(pending))


def _process(
    jobs: "Sequence[SessionJob]", model: ModelReference | None, device: str, log_file: Path | None
) -> ExitCode:
    """Run one graph of all sessions that no other run works on, then say what failed and why."""
    from bids_mmh.participant.outcome import report_busy, report_outcome
    from bids_mmh.runtime.locks import lock_sessions
    from bids_mmh.runtime.work_folder import clean_sessions

    settings = jobs[0].settings
    if model is not None:
        check_model(model, [scan.scan for job in jobs for scan in job.scans])
    with ExitStack() as stack:
        ours, busy = lock_sessions(jobs, stack)
        ours = [job for job in ours if not job.is_done()]  # another run may have ended just before the lock
        code = report_outcome(ours, _run(ours, device, log_file)) if ours else ExitCode.OK
        if settings.clean_workdir and code == ExitCode.OK:
            clean_sessions(settings.work_dir, [job.node_name for job in ours])
    return code or report_busy(busy)


def _run(jobs: "Sequence[SessionJob]", device: str, log_file: Path | None) -> "list[Failure]":
    from nipype import Workflow

    from bids_mmh.participant.workflow import session_graph
    from bids_mmh.runtime.progress import Progress
    from bids_mmh.runtime.work_folder import GRAPH
    from bids_mmh.runtime.workflow_run import run_graph

    settings = jobs[0].settings
    graph = Workflow(GRAPH, base_dir=str(settings.work_dir))
    graph.add_nodes([session_graph(job, device) for job in jobs])
    crash_dir = settings.output_dir / "logs" / "crash" / (log_file.stem if log_file else GRAPH)
    return run_graph(graph, settings, crash_dir=crash_dir, progress=Progress(jobs), log_file=log_file)


def _report_problems(jobs: "Sequence[SessionJob]") -> ExitCode:
    """Log the sidecars and tables that could not be read; their scans are done, but nobody knows the site."""
    problems = dict.fromkeys(scan.scan.problem for job in jobs for scan in job.scans if scan.scan.problem)
    for problem in problems:
        logger.error("%s The scans that it is about have no site.", problem)
    return ExitCode.DATA if problems else ExitCode.OK


def _draw(job: "SessionJob", device: str) -> None:
    from bids_mmh.participant.workflow import session_graph
    from bids_mmh.runtime.workflow_run import draw_graph

    draw_graph(session_graph(job, device), job.settings.output_dir / "logs" / "graph.dot")


def _rewrite_pages(jobs: "Sequence[SessionJob]") -> ExitCode:
    from bids_mmh.participant.report import has_results, write_session_page

    found = [job for job in jobs if has_results(job)]
    if not found:
        raise NoInputError(
            f"{jobs[0].settings.output_dir} holds no results of these sessions: run without --reports-only."
        )
    for job in found:
        logger.info("%s", write_session_page(job))
    return ExitCode.OK


def _beside(log_file: Path | None, ending: str) -> Path | None:
    return log_file.with_name(log_file.stem + ending) if log_file else None
