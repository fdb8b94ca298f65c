"""Which scans of a study a run is about: labels, sessions and the filter file."""

from collections.abc import Sequence

from bids_mmh.bids.filters import load_filters, matches
from bids_mmh.bids.names import parse_name
from bids_mmh.derivatives.index import study_rows
from bids_mmh.errors import NoInputError, NoMatchError
from bids_mmh.reports.group_table import ScanRow
from bids_mmh.settings import Settings


def chosen_rows(settings: Settings) -> tuple[list[ScanRow], int]:
    """List the scans that the options choose, from their sidecars.

    Returns:
        The chosen scans, and how many there are in all.

    Raises:
        NoInputError: There is no derivative of a scan in a template space.
        NoMatchError: The options leave none of them.
        UsageError: The filter file cannot be used.
    """
    rows = study_rows(settings.output_dir, settings.sequences)
    if not rows:
        raise NoInputError(
            f"{settings.output_dir} holds no preprocessed or harmonized "
            f"{' or '.join(settings.sequences)} scan in a template space: run the participant level first."
        )
    kept = [row for row in rows if _has_labels(row, settings)]
    if settings.bids_filter_file is not None:
        filters = load_filters(settings.bids_filter_file, settings.sequences)
        kept = [row for row in kept if matches(_entities(row), filters.get(row.sequence, {}))]
    if not kept:
        raise NoMatchError(
            f"None of the {len(rows)} scans in {settings.output_dir} matches the participant and session "
            "labels and the filter: check --participant-label, --session-label and --bids-filter-file."
        )
    return kept, len(rows)


def subset_warning(rows: Sequence[ScanRow], all_scans: int) -> list[str]:
    """Say that not all scans are chosen, where that is so."""
    if len(rows) == all_scans:
        return []
    chosen_by = "chosen by --participant-label, --session-label or --bids-filter-file"
    return [f"This is a subset: {len(rows)} of {all_scans} scans, {chosen_by}."]


def _has_labels(row: ScanRow, settings: Settings) -> bool:
    participant, session = (
        row.participant_id.removeprefix("sub-"),
        (row.session_id or "").removeprefix("ses-"),
    )
    return (not settings.participant_label or participant in settings.participant_label) and (
        not settings.session_label or session in settings.session_label
    )


def _entities(row: ScanRow) -> dict[str, str]:
    """Entities of the source scan under pybids' names, with its suffix."""
    return parse_name(row.scan).source_entities | {"suffix": row.sequence}
