"""The group story: read every scan's sidecar, say what does not fit together, write tables and page."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bids_mmh.app.study_report import write_study
from bids_mmh.app.study_rows import study_rows
from bids_mmh.errors import ExitCode, NoInputError, NoMatchError
from bids_mmh.reports.group_table import ScanRow

logger = logging.getLogger(__name__)

# What scans of one sequence must share to be compared, and what to do where they do not.
COMMON = {
    "space": ("lie in {count} spaces", "they are shown apart and never compared: use one template for all"),
    "model_sha256": ("were harmonized by {count} models", "harmonize all of them with one --model"),
    "configuration_hash": (
        "were made with {count} configurations",
        "run participant on all of them with the same options",
    ),
}


class GroupSettings(Protocol):
    """The settings that the group level reads."""

    @property
    def output_dir(self) -> Path:
        """Root of the derivatives: read, and written to."""

    @property
    def participant_label(self) -> tuple[str, ...]:
        """Participants to list, with or without ``sub-``; empty for all."""

    @property
    def session_label(self) -> tuple[str, ...]:
        """Sessions to list, with or without ``ses-``; empty for all."""

    @property
    def sequences(self) -> tuple[str, ...]:
        """Suffixes to list, such as ``T1w``."""


def run_group(settings: GroupSettings) -> ExitCode:
    """Write ``group_<sequence>.tsv`` with a data dictionary for each sequence found, and ``group.html``.

    Args:
        settings: The run's settings. Only the derivatives are read, never the raw data.

    Returns:
        ``ExitCode.OK``, or ``ExitCode.DATA`` where a sidecar could not be used: everything is written all
        the same, and the scan is listed with its problem.

    Raises:
        NoInputError: If there is no derivative of a scan in a template space.
        NoMatchError: If the filters leave none of them.
        CannotCreateError: If a table or the page cannot be written.
    """
    found = _found(settings)
    rows = _matching(settings, found)
    warnings = [*_subset_warning(rows, found), *common_ground_warnings(rows)]
    for sentence in warnings:
        logger.warning("%s", sentence)
    page = write_study(settings.output_dir, rows, warnings)
    broken = sum(row.problem is not None for row in rows)
    logger.info("Listed %d scans in %s.", len(rows), page)
    return ExitCode.DATA if broken else ExitCode.OK


def common_ground_warnings(rows: Sequence[ScanRow]) -> list[str]:
    """Say where scans of one sequence differ in their space, model or configuration.

    Args:
        rows: The scans of the study.

    Returns:
        One sentence for each difference, with counts; scans that do not tell are left out.
    """
    sentences = []
    for sequence in sorted({row.sequence for row in rows}):
        for attribute, (fault, remedy) in COMMON.items():
            values = (getattr(row, attribute) for row in rows if row.sequence == sequence)
            counts = Counter(value for value in values if value is not None)
            if len(counts) > 1:
                named = ", ".join(f"{_short(value)}: {count}" for value, count in counts.most_common())
                sentences.append(f"{sequence} scans {fault.format(count=len(counts))} ({named}); {remedy}.")
    return sentences


def _found(settings: GroupSettings) -> list[ScanRow]:
    rows = study_rows(settings.output_dir, settings.sequences)
    if not rows:
        raise NoInputError(
            f"{settings.output_dir} holds no preprocessed or harmonized "
            f"{' or '.join(settings.sequences)} scan in a template space: run the participant level first."
        )
    return rows


def _matching(settings: GroupSettings, rows: Sequence[ScanRow]) -> list[ScanRow]:
    participants = {label.removeprefix("sub-") for label in settings.participant_label}
    sessions = {label.removeprefix("ses-") for label in settings.session_label}
    kept = [
        row
        for row in rows
        if (not participants or row.participant_id.removeprefix("sub-") in participants)
        and (not sessions or (row.session_id or "").removeprefix("ses-") in sessions)
    ]
    if not kept:
        raise NoMatchError(
            f"None of the {len(rows)} scans in {settings.output_dir} matches the participant and session "
            "labels: check --participant-label and --session-label."
        )
    return kept


def _subset_warning(rows: Sequence[ScanRow], found: Sequence[ScanRow]) -> list[str]:
    if len(rows) == len(found):
        return []
    chosen_by = "chosen by --participant-label or --session-label"
    return [f"This is a subset: {len(rows)} of {len(found)} scans, {chosen_by}."]


def _short(value: str) -> str:
    """Show a hash by its first digits, a name in full."""
    return value[:12] if len(value) >= 40 else value
