"""The participant level: raw BIDS in, harmonized derivatives and a page per session out."""

import logging
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.app.models import ModelReference, resolve_model
from bids_mmh.app.settings import Settings
from bids_mmh.bids.session import Scan, Session
from bids_mmh.errors import BidsMmhError, ExitCode

if TYPE_CHECKING:
    from bids_mmh.app.scan_outputs import ScanJob
    from bids_mmh.app.session_graph import SessionJob
    from bids_mmh.app.workflow_run import Failure
    from bids_mmh.preprocess.template import Template

logger = logging.getLogger("bids_mmh.participant")


def run_participant(settings: Settings) -> ExitCode:
    """Preprocess and harmonize every chosen session; what is already done is left alone.

    Returns:
        0 when every scan is done, else the code of the first failure; sessions do not stop each other.
    """
    from bids_mmh.app.session_graph import SessionJob
    from bids_mmh.preprocess.template import find_template

    model = None if settings.preproc_only else resolve_model(settings.model)
    sessions = _find(settings)
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    template = find_template(settings.template, settings.work_dir / "templates")
    logger.info("Template: %s", template.source)
    _write_study_files(settings, model, template)
    if settings.boilerplate_only:
        return ExitCode.OK
    jobs = [SessionJob(s, _scan_jobs(s, settings, model, template.space), template) for s in sessions]
    if settings.reports_only:
        return _rewrite_pages(jobs)
    pending = [job for job in jobs if not _is_done(job)]
    logger.info("%d sessions: %d done before, %d to do.", len(jobs), len(jobs) - len(pending), len(pending))
    code = _process(pending, settings) if pending else ExitCode.OK
    if settings.clean_workdir and code == ExitCode.OK:
        shutil.rmtree(settings.work_dir, ignore_errors=True)
    return code


def _find(settings: Settings) -> Sequence[Session]:
    from bids_mmh.bids.filters import load_filters
    from bids_mmh.bids.inputs import find_sessions
    from bids_mmh.bids.sites import assign_sites

    filters = (
        load_filters(settings.bids_filter_file, settings.sequences) if settings.bids_filter_file else None
    )
    sessions = find_sessions(
        settings.bids_dir,
        participant_labels=settings.participant_label,
        session_labels=settings.session_label,
        filters=filters,
        sequences=settings.sequences,
        all_runs=settings.all_runs,
        database_dir=settings.bids_database_dir,
    )
    table = assign_sites(settings.bids_dir, sessions, settings.site_from)
    logger.info("%s", table.format_table())
    table.write_tsv(settings.output_dir / "logs" / "sites.tsv")
    return table.sessions


def _write_study_files(settings: Settings, model: ModelReference | None, template: "Template") -> None:
    from bids_mmh.app.boilerplate import boilerplate
    from bids_mmh.bids.atomic import write_text
    from bids_mmh.bids.provenance import dataset_description, write_dataset_files

    digest = settings.processing_hash(model.sha256 if model else None)
    out = settings.output_dir
    write_dataset_files(out, dataset_description(bids_dir=settings.bids_dir, configuration_hash=digest))
    stamp = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S%fZ")
    write_text(out / "logs" / f"settings_{stamp}.toml", settings.to_toml())
    write_text(out / "logs" / "CITATION.md", boilerplate(settings, model, template))


def _scan_jobs(
    session: Session, settings: Settings, model: ModelReference | None, space: str
) -> "tuple[ScanJob, ...]":
    from bids_mmh.app.scan_outputs import ScanJob

    anchor = _anchor(session)
    spacing = model.config.spacing if model else 1.0
    return tuple(ScanJob(scan, anchor, space, spacing, settings, model) for scan in session.scans)


def _anchor(session: Session) -> Scan:
    return next((scan for scan in session.scans if scan.sequence == "T1w"), session.scans[0])


def _is_done(job: "SessionJob") -> bool:
    page = job.scans[0].settings.output_dir / f"{job.session.label}.html"
    return page.is_file() and all(scan.is_done() for scan in job.scans)


def _process(jobs: "Sequence[SessionJob]", settings: Settings) -> ExitCode:
    """Run one graph of all sessions, then say what failed and why."""
    from nipype import Workflow

    from bids_mmh.app.harmonize import choose_device
    from bids_mmh.app.session_graph import session_graph
    from bids_mmh.app.workflow_run import run_graph

    graph = Workflow("bids_mmh", base_dir=str(settings.work_dir))
    device = "cpu" if settings.preproc_only else choose_device(settings.device)
    graph.add_nodes([session_graph(job, device) for job in jobs])
    if settings.write_graph:
        graph.write_graph(str(settings.output_dir / "logs" / "graph.dot"), graph2use="colored", format="svg")
    failures = run_graph(graph, settings, settings.output_dir / "logs" / "crash")
    return _report(jobs, failures)


def _report(jobs: "Sequence[SessionJob]", failures: "Sequence[Failure]") -> ExitCode:
    """Log one sentence for each failed session and write its page with what there is."""
    codes = []
    for job in jobs:
        own = [failure for failure in failures if failure.session == job.node_name]
        if own or not _is_done(job):
            sentences = tuple(dict.fromkeys(failure.sentence for failure in own)) or ("It did not finish.",)
            for sentence in sentences:
                logger.error("%s: %s", job.session.label, sentence)
            _write_partial_page(job, sentences)
            codes.append(own[0].code if own else ExitCode.DATA)
    logger.info("%d of %d sessions done.", len(jobs) - len(codes), len(jobs))
    return codes[0] if codes else ExitCode.OK


def _write_partial_page(job: "SessionJob", sentences: tuple[str, ...]) -> None:
    from bids_mmh.app.session_page import write_session_page

    try:
        write_session_page(job, sentences)
    except (BidsMmhError, OSError, KeyError, ValueError) as error:
        logger.warning("The page of %s could not be written: %s", job.session.label, error)


def _rewrite_pages(jobs: "Sequence[SessionJob]") -> ExitCode:
    from bids_mmh.app.session_page import write_session_page

    for job in jobs:
        path: Path = write_session_page(job)
        logger.info("%s", path)
    return ExitCode.OK
