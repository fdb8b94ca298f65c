"""The group story: which scans, which target, a model fitted when asked, all scans harmonized, the report."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bids_mmh.derivatives.fit_record import FitRecord
from bids_mmh.derivatives.index import find_preprocessed
from bids_mmh.derivatives.models import UNIFIED, ModelReference, resolve_model
from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import ExitCode, NoInputError, TryAgainError, UsageError
from bids_mmh.group.fit import fit_study
from bids_mmh.group.harmonize import harmonize_study
from bids_mmh.group.outcome import study_outcomes
from bids_mmh.group.report import write_study
from bids_mmh.group.select import chosen_rows, subset_warning
from bids_mmh.group.target_site import StudyTarget, choose_study_target
from bids_mmh.group.transfer import transfer_model, wants_transfer
from bids_mmh.group.warnings import study_warnings
from bids_mmh.participant.outcome import Outcome
from bids_mmh.participant.summary import conclude
from bids_mmh.reports.group_table import ScanRow
from bids_mmh.runtime.locks import file_lock
from bids_mmh.runtime.processes import Process, this_process
from bids_mmh.settings import AUTO, MODELS_FOLDER, Settings

logger = logging.getLogger(__name__)


def run_group(settings: Settings, log_file: Path | None = None) -> ExitCode:
    """Fit a model to the study and harmonize all its scans, if asked for; then evaluate and report.

    Several processes, started by torchrun, by SLURM or one after the other by hand, share the work; the first
    to find nothing left to do writes the report.

    Args:
        settings: The run's settings. Only the derivatives are read, never the raw data.
        log_file: Log of the run, which the summary lies beside.

    Returns:
        ``ExitCode.OK``, or the code of the first scan that failed, or ``ExitCode.DATA`` where a sidecar could
        not be used: everything else is done all the same, and the scan is listed with its problem.

    Raises:
        BidsMmhError: Where nothing can be done at all.
    """
    if settings.fit is None and (settings.recipe or settings.split):
        raise UsageError("--recipe and --split say how to train: give --fit too, or leave them out.")
    process = this_process()
    rows, _ = chosen_rows(settings)
    target = _choose_target(settings, rows)
    failed: list[Outcome] = []
    transfer = wants_transfer(settings, rows)
    has_model = settings.fit is not None or settings.model is not None
    if has_model or (transfer and _has_images(settings, rows)):
        failed = _harmonize(settings, rows, target, process, transfer=transfer)
    reported = _report_once(settings, target) if process.is_first else []
    outcomes = [*study_outcomes(reported, failed, settings.output_dir)]
    return conclude(outcomes, settings.output_dir, log_file)


def _report_once(settings: Settings, target: StudyTarget) -> list[ScanRow]:
    """Report unless another run is at it; returns the scans that were listed."""
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(settings.output_dir / "logs" / ".group.lock"))
        except TryAgainError:
            logger.info("Another run writes the tables and the page of this study.")
            return []
        return _report(settings, target)


def _has_images(settings: Settings, rows: Sequence[ScanRow]) -> bool:
    """Whether there are images to bring to the target site."""
    if find_preprocessed(settings.output_dir, rows):
        return True
    logger.info("No scan has its preprocessed image, so the study is compared at the target site only.")
    return False


def _choose_target(settings: Settings, rows: Sequence[ScanRow]) -> StudyTarget:
    """The target asked for; else that of the model that is there already; else the best site."""
    wanted: str | None = settings.target_site
    if wanted == AUTO:
        known = _target_before(settings, rows)
        wanted = known if known in {row.site for row in rows} else AUTO
    target = choose_study_target(rows, wanted or AUTO, settings.min_site_scans)
    for sentence in target.sentences:
        logger.info("%s", sentence)
    return target


def _target_before(settings: Settings, rows: Sequence[ScanRow]) -> str | None:
    """The target site of the model of this name, or without a fit, of what harmonized the scans."""
    if settings.fit is not None:
        earlier = FitRecord.read(settings.output_dir / MODELS_FOLDER / settings.fit_name)
        return earlier.target if earlier else None
    targets = {row.target for row in rows if row.target} - {UNIFIED}
    return targets.pop() if len(targets) == 1 else None


def _harmonize(
    settings: Settings, rows: Sequence[ScanRow], target: StudyTarget, process: Process, *, transfer: bool
) -> list[Outcome]:
    """Harmonize with the model that is fitted now, with one for the target site, or with the one named."""
    scans = find_preprocessed(settings.output_dir, rows)
    _check_scans(scans)
    model: ModelReference
    if settings.fit is not None:
        model = fit_study(settings, scans, target, process)
    elif transfer:
        model = transfer_model(settings, scans, target, process)
    else:
        model = resolve_model(str(settings.model), settings.output_dir)
    return harmonize_study(settings, model, scans, process)


def _check_scans(scans: Sequence[DerivedScan]) -> None:
    if not scans:
        raise NoInputError("No scan has its preprocessed image: run the participant level again.")
    spaces = sorted({scan.name.space for scan in scans})
    if len(spaces) > 1:
        raise UsageError(
            f"The scans lie in {' and '.join(spaces)}, and one model takes one space: choose scans of one by "
            "--participant-label, or preprocess all of them with one --template."
        )


def _report(settings: Settings, target: StudyTarget) -> list[ScanRow]:
    """Read all sidecars anew, say what is odd, evaluate, and write the tables and the page."""
    rows, found = chosen_rows(settings)
    warnings = [*subset_warning(rows, found), *study_warnings(rows)]
    for sentence in warnings:
        logger.warning("%s", sentence)
    sentences = [*warnings, *target.sentences[1:]]  # the first one is in the table: which site it is
    page = write_study(settings, rows, sentences, {target.title: target.records})
    logger.info("Listed %d scans in %s.", len(rows), page)
    return list(rows)
