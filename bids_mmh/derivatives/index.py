"""Rebuild the rows of a study from the sidecars of its derivatives alone."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.statistics import ImageStatistics, wasserstein
from bids_mmh.reports.group_table import ScanRow

logger = logging.getLogger(__name__)

# Labels of BIDS that name a person's own space: such images are not on the study's common grid.
OWN_SPACES = frozenset({"individual", "orig", "scanner", "T1w", "T2w", "FLAIR"})
HARMONIZED, PREPROCESSED = "harmonized", "preproc"
_DERIVED = frozenset({"space", "res", "desc"})


def study_rows(output_dir: Path, sequences: Sequence[str]) -> list[ScanRow]:
    """List every scan of a study that lies in a template space.

    Args:
        output_dir: Root of the derivatives.
        sequences: Suffixes to look for.

    Returns:
        One row for each scan and space, sorted by name. Where a scan is there both preprocessed and
        harmonized, the harmonized one counts, and of several of a kind the newest. A sidecar that cannot be
        used gives a row with ``problem``.
    """
    chosen: dict[tuple[str, str], tuple[ScanRow, Path]] = {}
    # Harmonized sidecars come second and so take the place of preprocessed ones.
    for desc in (PREPROCESSED, HARMONIZED):
        for path in _sidecars(output_dir, desc, sequences):
            row = _identify(path, output_dir, harmonized=desc == HARMONIZED)
            if row.space and row.space not in OWN_SPACES:
                chosen[row.scan, row.space] = (row, path)
    rows = [_fill(row, path) for row, path in chosen.values()]
    return sorted(rows, key=lambda row: (row.participant_id, row.session_id or "", row.scan, row.space))


def parts_of(rows: Sequence[ScanRow]) -> Iterator[tuple[str, str, list[ScanRow]]]:
    """Give the scans that can be compared with each other: of one sequence in one space.

    Args:
        rows: The scans of a study.

    Yields:
        Sequence, space, and their scans in the order of ``rows``.
    """
    for sequence, space in sorted({(row.sequence, row.space) for row in rows}):
        yield sequence, space, [row for row in rows if (row.sequence, row.space) == (sequence, space)]


def _sidecars(output_dir: Path, desc: str, sequences: Sequence[str]) -> Iterator[Path]:
    """Oldest first: of a scan that was harmonized on two grids, by two models, the newer version counts."""
    for sequence in sequences:
        for folder in ("sub-*/anat", "sub-*/ses-*/anat"):
            found = output_dir.glob(f"{folder}/sub-*_desc-{desc}_{sequence}.json")
            yield from sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _identify(path: Path, output_dir: Path, *, harmonized: bool) -> ScanRow:
    """Read what the file name says."""
    *pairs, suffix = path.stem.split("_")
    entities = dict(pair.partition("-")[::2] for pair in pairs)
    participant, session = f"sub-{entities['sub']}", entities.get("ses")
    page = participant + (f"_ses-{session}" if session else "") + ".html"
    source = [pair for pair in pairs if pair.partition("-")[0] not in _DERIVED]
    return ScanRow(
        participant_id=participant,
        session_id=f"ses-{session}" if session else None,
        scan="_".join([*source, suffix]),
        sequence=suffix,
        space=entities.get("space", ""),
        harmonized=harmonized,
        page=page if (output_dir / page).is_file() else None,
        sidecar=path.relative_to(output_dir).as_posix(),
    )


def _fill(row: ScanRow, path: Path) -> ScanRow:
    """Add what the sidecar says, or the problem with it."""
    try:
        content = _read(path)
        return _with_metadata(_with_statistics(row, content), content)
    except BadDataError as error:
        reason = str(error).rstrip(".")
        problem = f"{path.name} cannot be used ({reason}): run participant again for {row.participant_id}."
        logger.warning("%s", problem)
        return replace(row, problem=problem)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadDataError(f"no readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadDataError("no JSON object")
    return content


def _with_statistics(row: ScanRow, content: Mapping[str, Any]) -> ScanRow:
    before = _statistics(content, "before")
    row = replace(row, before=_scalars(before), histogram_before=before.histogram)
    if not row.harmonized:
        return row
    after = _statistics(content, "after")
    return replace(
        row,
        after=_scalars(after),
        histogram_after=after.histogram,
        histogram_distance=wasserstein(before.histogram, after.histogram),
    )


def _statistics(content: Mapping[str, Any], when: str) -> ImageStatistics:
    stored = content.get("ImageStatistics")
    record = stored.get(when) if isinstance(stored, dict) else None
    if not isinstance(record, dict):
        raise BadDataError(f"no ImageStatistics '{when}'")
    statistics = ImageStatistics.from_dict(record)
    if not any(statistics.histogram):
        raise BadDataError(f"no voxel of ImageStatistics '{when}' lies within [-1, 1]")
    return statistics


def _scalars(statistics: ImageStatistics) -> dict[str, float]:
    return {name: value for name, value in asdict(statistics).items() if name != "histogram"}


def _with_metadata(row: ScanRow, content: Mapping[str, Any]) -> ScanRow:
    stored = content.get("Model")
    model = stored if isinstance(stored, dict) else {}
    warnings = content.get("QualityWarnings") or ()
    return replace(
        row,
        site=_text(content.get("Site")),
        anatomy_preservation=_number(content.get("AnatomyPreservation")),
        model=_text(model.get("Name")),
        model_sha256=_text(model.get("SHA256")),
        target=_text(model.get("Target")),
        encoder=_encoder(model.get("Encoder")),
        configuration_hash=_text(content.get("ConfigurationHash")),
        warnings=tuple(map(str, warnings)) if isinstance(warnings, list) else (),
    )


def _encoder(stored: object) -> str | None:
    return _text(stored.get("Name")) if isinstance(stored, dict) else None


def _number(value: object) -> float | None:
    # Python reads NaN from JSON; the page, which browsers read, must not hold it.
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
