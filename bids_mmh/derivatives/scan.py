"""Preprocessed scans as the group level goes on from them: found by their sidecars, without the raw data."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_mmh.bids.names import ENTITIES, voxel_size
from bids_mmh.errors import BadDataError
from bids_mmh.reports.group_table import ScanRow

logger = logging.getLogger(__name__)

_DERIVED = ("space", "res", "desc")
_NEEDED = ("Site", "Sequence", "BrainMask", "IntensityScaling", "ConfigurationHash")


@dataclass(frozen=True, eq=False)
class PreprocessedScan:
    """A preprocessed scan on the finest grid of template space that there is.

    Attributes:
        sidecar: its JSON file.
        fields: what that says.
        entities: of the raw scan, under pybids' names.
        sequence: BIDS suffix.
        space: template space.
        spacing: voxel size in mm.
    """

    sidecar: Path
    fields: Mapping[str, Any]
    entities: Mapping[str, str]
    sequence: str
    space: str
    spacing: float

    @property
    def image(self) -> Path:
        """The preprocessed image."""
        return self.sidecar.with_suffix(".nii.gz")

    @property
    def mask(self) -> Path:
        """Its brain mask."""
        return self.sidecar.parent / str(self.fields["BrainMask"])

    @property
    def session(self) -> tuple[str, str | None]:
        """Labels of subject and session."""
        return self.entities["subject"], self.entities.get("session")


def find_preprocessed(output_dir: Path, rows: Iterable[ScanRow]) -> list[PreprocessedScan]:
    """Find the preprocessed version of scans of a study.

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
            found.append(_find(output_dir, row))
        except BadDataError as error:
            logger.warning("%s is left out: %s", row.scan, error)
    return found


def _find(output_dir: Path, row: ScanRow) -> PreprocessedScan:
    *pairs, suffix = row.scan.split("_")
    folder = output_dir.joinpath(*pairs[: 2 if row.session_id else 1], "anat")
    names = [*folder.glob(f"{'_'.join(pairs)}_*desc-preproc_{suffix}.json")]
    own = [scan for path in names if (scan := _named(path)).space == row.space]
    exact = [scan for scan in own if _source(scan.sidecar) == pairs]
    if not exact:
        raise BadDataError("its preprocessed image is not there: run participant for it again.")
    return _read(min(exact, key=lambda scan: scan.spacing))


def _named(sidecar: Path) -> PreprocessedScan:
    """What the name of a sidecar says."""
    *pairs, suffix = sidecar.stem.split("_")
    values = dict(pair.partition("-")[::2] for pair in pairs)
    entities = {ENTITIES.get(key, key): value for key, value in values.items() if key not in _DERIVED}
    return PreprocessedScan(sidecar, {}, entities, suffix, values.get("space", ""), voxel_size(sidecar))


def _source(sidecar: Path) -> Sequence[str]:
    return [pair for pair in sidecar.stem.split("_")[:-1] if pair.partition("-")[0] not in _DERIVED]


def _read(scan: PreprocessedScan) -> PreprocessedScan:
    try:
        fields = json.loads(scan.sidecar.read_text(encoding="utf-8"))
        missing = [name for name in _NEEDED if name not in fields]
    except (OSError, ValueError, TypeError) as error:
        raise BadDataError(f"{scan.sidecar.name} cannot be read ({error}): run participant again.") from error
    if missing:
        raise BadDataError(f"{scan.sidecar.name} lacks {missing[0]}: run participant again.")
    found = PreprocessedScan(scan.sidecar, fields, scan.entities, scan.sequence, scan.space, scan.spacing)
    for file in (found.image, found.mask):
        if not file.is_file():
            raise BadDataError(f"{file.name} is missing: run participant again.")
    return found
