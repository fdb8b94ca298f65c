"""The participant level: raw BIDS in, harmonized derivatives and a page per session out."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.derivatives.models import check_model, resolve_model
from bids_mmh.errors import ExitCode, NoInputError, UsageError
from bids_mmh.settings import EMBEDDED_MODEL, Settings

if TYPE_CHECKING:
    from bids_mmh.derivatives.jobs import SessionJob
    from bids_mmh.participant.outcome import Outcome
    from bids_mmh.runtime.step_times import StepTimes

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
    from bids_mmh.runtime.work_folder import TEMPLATES

    chosen = settings.model or EMBEDDED_MODEL
    model = None if settings.preproc_only else resolve_model(chosen, settings.output_dir)
    elsewhere = _runs_elsewhere(settings)
    template = find_template(settings.template, settings.work_dir / TEMPLATES)
    logger.info("Template: %s", template.source)
    jobs = find_jobs(settings, model, template, sites_file=_beside(log_file, "_sites.tsv"))
    write_dataset(settings, model)
    done = {job.node_name for job in jobs if job.is_done()}
    if settings.boilerplate_only or settings.reports_only or settings.write_graph or len(done) < len(jobs):
        return _work(jobs, done, elsewhere=elsewhere, log_file=log_file)
    return _process(jobs, done, "cpu", log_file)


def _runs_elsewhere(settings: Settings) -> bool:
    """Whether steps run on other machines; only a plugin file can say so, and Nipype takes long to load."""
    if settings.nipype_plugin_file is None:
        return False
    from bids_mmh.runtime.plugins.choice import choose_plugin

    return not choose_plugin(settings).is_local


def _work(
    jobs: "Sequence[SessionJob]", done: Collection[str], *, elsewhere: bool, log_file: Path | None
) -> ExitCode:
    """Do what was asked for; the first place that needs to know the device, and so PyTorch."""
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
    return _process(jobs, done, device, log_file)


def _process(
    jobs: "Sequence[SessionJob]", done: Collection[str], device: str, log_file: Path | None
) -> ExitCode:
    """Run the sessions that are not done, if there are any, and say what came of all.

    Args:
        jobs: all sessions of the run.
        done: names of those that an earlier run has done.
        device: where the model runs.
        log_file: log of the run.
    """
    from bids_mmh.participant.outcome import Status, same_for_all, without_site
    from bids_mmh.participant.summary import conclude

    outcomes: list[Outcome] = []
    pending = []
    for job in jobs:
        if job.node_name in done:
            outcomes += same_for_all(job, Status.SKIPPED, "Done before.", ExitCode.OK)
        else:
            pending.append(job)
    logger.info("%d sessions: %d done before, %d to do.", len(jobs), len(done), len(pending))
    if pending and (model := pending[0].scans[0].model):
        check_model(model, [scan.scan for job in pending for scan in job.scans])
    try:
        if pending:
            _run(pending, device, log_file, outcomes)
    finally:
        _report_problems(jobs)
        code = conclude([*without_site(outcomes, jobs)], jobs[0].settings.output_dir, log_file)
    return code


def _report_problems(jobs: "Sequence[SessionJob]") -> None:
    """Log the sidecars and tables that could not be read; their scans are done, but nobody knows the site."""
    problems = dict.fromkeys(scan.scan.problem for job in jobs for scan in job.scans if scan.scan.problem)
    for problem in problems:
        logger.error("%s The scans that it is about have no site.", problem)


def _run(jobs: "Sequence[SessionJob]", device: str, log_file: Path | None, outcomes: "list[Outcome]") -> None:
    """Run the sessions that no other run works on; what came of each scan is added to ``outcomes``."""
    from bids_mmh.participant.sessions import SessionQueue
    from bids_mmh.runtime.progress import Progress
    from bids_mmh.runtime.step_times import StepTimes
    from bids_mmh.runtime.work_folder import GRAPH
    from bids_mmh.runtime.workflow_run import run_sessions

    settings = jobs[0].settings
    crash_dir = settings.output_dir / "logs" / "crash" / (log_file.stem if log_file else GRAPH)
    progress, step_times = Progress(jobs), StepTimes()
    queue = SessionQueue(jobs, device, progress, outcomes)
    try:
        run_sessions(
            queue.workflows(),
            settings,
            crash_dir=crash_dir,
            callbacks=[progress, step_times] if settings.profile else [progress],
            ended=queue.ended,
            log_file=log_file,
        )
    finally:
        queue.stop()
        if settings.profile:
            _write_profile(step_times, settings.output_dir, log_file)


def _write_profile(step_times: "StepTimes", output_dir: Path, log_file: Path | None) -> None:
    from bids_mmh.derivatives.outputs import OUTPUTS

    run = log_file.stem if log_file else "run"
    table, picture = (
        OUTPUTS["profile"].path(output_dir, run=run, ending=ending) for ending in ("tsv", "svg")
    )
    step_times.write(table, picture)
    logger.info("Chart of the run: %s", picture)


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
