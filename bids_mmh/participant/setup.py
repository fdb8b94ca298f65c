"""Before any image is read: which scans there are, where they go, and what describes the results."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from bids_mmh.bids.atomic import write_text
from bids_mmh.bids.filters import load_filters
from bids_mmh.bids.inputs import find_sessions
from bids_mmh.bids.participants import copy_participants
from bids_mmh.bids.provenance import dataset_description, write_dataset_files
from bids_mmh.bids.session import Scan, Session
from bids_mmh.bids.sites.assignment import assign_sites
from bids_mmh.derivatives.external_derivatives import check_datasets, find_precomputed, only_standard
from bids_mmh.derivatives.jobs import ScanJob, SessionJob
from bids_mmh.derivatives.models import ModelReference
from bids_mmh.derivatives.outputs import LABELS, OUTPUTS
from bids_mmh.participant.boilerplate import boilerplate
from bids_mmh.preprocess.engines.choice import check_engine
from bids_mmh.preprocess.template import Template
from bids_mmh.settings import Settings, configuration_hash

logger = logging.getLogger(__name__)


def find_jobs(
    settings: Settings, model: ModelReference | None, template: Template, *, sites_file: Path | None
) -> list[SessionJob]:
    """Find the sessions of the run and print their sites.

    Args:
        settings: options of the run.
        model: the model, None when only preprocessing.
        template: standard brain.
        sites_file: where the table of sites is written; None for nowhere.

    Raises:
        BidsMmhError: there is nothing to do, or an option does not fit the dataset.
    """
    table = assign_sites(settings.bids_dir, _sessions(settings), settings.site_from)
    logger.info("%s", table.format_table())
    if sites_file is not None:
        table.write_tsv(sites_file)
    check_engine(settings.preproc_engine, settings.synthstrip_weights)
    check_datasets(settings.derivative_folders)
    return [
        SessionJob(session, tuple(_scan_jobs(session, settings, model, template)), template)
        for session in table.sessions
    ]


def _scan_jobs(
    session: Session, settings: Settings, model: ModelReference | None, template: Template
) -> Iterator[ScanJob]:
    anchor, spacing = _anchor(session), model.config.spacing if model else 1.0
    place = session.scans.index(anchor)
    found = [
        find_precomputed(scan, anchor, template.space, settings.derivative_folders) for scan in session.scans
    ]
    # Images in template space lead to no results in the scans' own.
    standard = only_standard(found) and "native" not in settings.output_spaces and not settings.no_preproc
    for scan, given in zip(session.scans, found, strict=True):
        for file in given.files():
            logger.info("%s: found %s.", scan.path.name, file.uri)
        yield ScanJob(
            scan,
            anchor,
            template.space,
            spacing,
            settings,
            model,
            given=given,
            anchor_given=found[place],
            from_standard=standard,
        )


def write_dataset(settings: Settings, model: ModelReference | None) -> None:
    """Write what makes the output folder a BIDS dataset.

    Raises:
        CannotCreateError: the folder is another program's dataset.
    """
    outside = settings.outside if model else None
    digest = configuration_hash(settings.preprocessing_hash(), model.sha256 if model else None, outside)
    description = dataset_description(
        bids_dir=settings.bids_dir, configuration_hash=digest, derivatives=settings.derivative_folders
    )
    write_dataset_files(settings.output_dir, description, LABELS)
    copy_participants(settings.bids_dir, settings.output_dir)


def write_citation(settings: Settings, model: ModelReference | None, template: Template, device: str) -> None:
    """Write the methods text of the run; ``device`` is what the model runs on."""
    text = boilerplate(settings, model, template, device)
    write_text(OUTPUTS["citation"].path(settings.output_dir), text)


def _sessions(settings: Settings) -> Sequence[Session]:
    file = settings.bids_filter_file
    return find_sessions(
        settings.bids_dir,
        participant_labels=settings.participant_label,
        session_labels=settings.session_label,
        filters=load_filters(file, settings.sequences) if file else None,
        sequences=settings.sequences,
        all_runs=settings.all_runs,
    )


def _anchor(session: Session) -> Scan:
    return next((scan for scan in session.scans if scan.sequence == "T1w"), session.scans[0])
