"""Which subjects of a study a model was trained on: the evaluation leaves them out."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_mmh.derivatives.models import resolve_model
from bids_mmh.errors import BidsMmhError
from bids_mmh.reports.group_table import ScanRow
from bids_mmh.settings import EMBEDDED_MODEL, MODELS_FOLDER

logger = logging.getLogger(__name__)

SEEN = frozenset({"train", "validation"})


@dataclass(frozen=True)
class TrainedSubjects:
    """Subjects that the models of a study were trained or validated on.

    Attributes:
        parts: Subject (with ``sub-``) to ``train`` or ``validation``.
        unknown: Names of models whose training subjects are not known.
    """

    parts: dict[str, str]
    unknown: tuple[str, ...]


def trained_subjects(output_dir: Path, rows: Sequence[ScanRow]) -> TrainedSubjects:
    """Read the splits of the models that harmonized the scans.

    A model belongs to a folder of ``models/`` when its digest is the folder's, or, where the folder was
    trained again since, its name. The splits of the models that it was fine-tuned from count as well.

    Args:
        output_dir: Root of the derivatives; models fitted on the study lie in ``models/``.
        rows: The scans.

    Raises:
        UsageError: A table of a split is damaged: it is not known which subjects were trained on.
    """
    used = {(row.model, row.model_sha256) for row in rows if row.harmonized and row.model_sha256}
    embedded = resolve_model(EMBEDDED_MODEL).sha256 if used else None
    parts: dict[str, str] = {}
    unknown = []
    for name, digest in sorted(used, key=str):
        tables = sorted(set(_splits(output_dir / MODELS_FOLDER, name, digest)))
        for table in tables:
            _add(parts, table)
        if not tables and digest != embedded:
            unknown.append(str(name))
    return TrainedSubjects(parts, tuple(dict.fromkeys(unknown)))


def _splits(models: Path, name: str | None, digest: str | None) -> Iterable[Path]:
    from bids_mmh.training.data.split import all_splits_of

    for folder in sorted(models.glob("*/")):
        try:
            found = resolve_model(str(folder.absolute()))
        except BidsMmhError as error:
            logger.debug("%s is not looked at: %s", folder, error)
            continue
        if digest == found.sha256 or name in (found.name, folder.name):
            yield from all_splits_of(folder)


def _add(parts: dict[str, str], table: Path) -> None:
    from bids_mmh.training.data.split import read_split

    for subject, part in read_split(table).items():
        if part in SEEN and parts.get(subject) != "train":
            parts[subject] = part
