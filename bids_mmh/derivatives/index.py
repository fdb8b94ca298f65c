"""The scans of a study, from the names and sidecars of its derivatives alone."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bids_mmh.bids.names import parse_name
from bids_mmh.derivatives.scan import DerivedScan, read_derived
from bids_mmh.derivatives.sidecar import Encoder, Model, Sidecar
from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.statistics import ImageStatistics, wasserstein
from bids_mmh.reports.group_table import ScanRow

logger = logging.getLogger(__name__)

# Labels of BIDS that name a subject's own space: such images are not on the study's common grid.
OWN_SPACES = frozenset({"individual", "orig", "scanner", "T1w", "T2w", "FLAIR"})
HARMONIZED, PREPROCESSED = "harmonized", "preproc"


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
    name = parse_name(path.name)
    page = name.participant_id + (f"_ses-{name.session}" if name.session else "") + ".html"
    return ScanRow(
        participant_id=name.participant_id,
        session_id=f"ses-{name.session}" if name.session else None,
        scan=name.source,
        sequence=name.suffix,
        space=name.space,
        harmonized=harmonized,
        page=page if (output_dir / page).is_file() else None,
        sidecar=path.relative_to(output_dir).as_posix(),
    )


def _fill(row: ScanRow, path: Path) -> ScanRow:
    """Add what the sidecar says, or the problem with it."""
    try:
        fields = Sidecar.read(path)
        return _with_metadata(_with_statistics(row, fields), fields)
    except BadDataError as error:
        reason = str(error).rstrip(".")
        problem = f"{path.name} cannot be used ({reason}): run participant again for {row.participant_id}."
        logger.warning("%s", problem)
        return replace(row, problem=problem)


def _with_statistics(row: ScanRow, fields: Sidecar) -> ScanRow:
    before = _statistics(fields, "before")
    row = replace(row, before=_scalars(before), histogram_before=before.histogram)
    if not row.harmonized:
        return row
    after = _statistics(fields, "after")
    return replace(
        row,
        after=_scalars(after),
        histogram_after=after.histogram,
        histogram_distance=wasserstein(before.histogram, after.histogram),
    )


def _statistics(fields: Sidecar, when: str) -> ImageStatistics:
    record = getattr(fields.image_statistics, when, None)
    if record is None:
        raise BadDataError(f"no ImageStatistics '{when}'")
    statistics = ImageStatistics.from_dict(record)
    if not any(statistics.histogram):
        raise BadDataError(f"no voxel of ImageStatistics '{when}' lies within [-1, 1]")
    return statistics


def _scalars(statistics: ImageStatistics) -> dict[str, float]:
    return {name: value for name, value in asdict(statistics).items() if name != "histogram"}


def _with_metadata(row: ScanRow, fields: Sidecar) -> ScanRow:
    model = fields.model or Model()
    return replace(
        row,
        site=fields.site,
        anatomy_preservation=fields.anatomy_preservation,
        anatomical_change=fields.anatomical_change,
        model=model.name,
        model_sha256=model.sha256,
        target=model.target,
        encoder=(model.encoder or Encoder()).name,
        configuration_hash=fields.configuration_hash,
        warnings=fields.quality_warnings or (),
    )


def find_preprocessed(output_dir: Path, rows: Iterable[ScanRow]) -> list[DerivedScan]:
    """Find the preprocessed version of scans of a study, on the finest grid that there is.

    Args:
        output_dir: root of the derivatives.
        rows: the scans; those with a problem are left out.

    Returns:
        In the order of the rows. What cannot be used is left out with a sentence in the log.
    """
    found = []
    for row in rows:
        if row.problem is not None:
            continue
        try:
            found.append(_preprocessed(output_dir, row))
        except BadDataError as error:
            logger.warning("%s is left out: %s", row.scan, error)
    return found


def _preprocessed(output_dir: Path, row: ScanRow) -> DerivedScan:
    folder = output_dir.joinpath(row.participant_id, row.session_id or "", "anat")
    names = {
        path: name
        for path in folder.glob(f"*_desc-{PREPROCESSED}_{row.sequence}.json")
        if (name := parse_name(path.name)).source == row.scan and name.space == row.space
    }
    if not names:
        raise BadDataError("its preprocessed image is not there: run participant for it again.")
    scan = read_derived(min(names, key=lambda path: names[path].spacing))
    if lacks := scan.fields.lacking("configuration_hash"):
        raise BadDataError(f"{scan.sidecar.name} lacks {lacks}: run participant again.")
    return scan
