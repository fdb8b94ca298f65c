"""Which scans may choose the depth of a model, and how they are read."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.method.config import ModelConfig
from bids_mmh.method.padding import BACKGROUND
from bids_mmh.preprocess.grid import Grid
from bids_mmh.training.data.scans import load_on_grid
from bids_mmh.training.data.split import read_split, travelling_subjects

logger = logging.getLogger("bids_mmh.training")


def tuning_subjects(scans: Sequence[DerivedScan], split: Path | None, named: Sequence[str] = ()) -> set[str]:
    """Subjects that may choose the depth: never those that a model is to be tested on.

    Args:
        scans: all scans there are.
        split: the model's table; its training and validation subjects are taken unless some are ``named``.
            Without a table, all subjects.
        named: labels, with or without ``sub-``.

    Raises:
        UsageError: a named subject does not exist or is for testing.
    """
    known = {scan.subject for scan in scans}
    parts = read_split(split) if split else {}
    if named:
        labels = {f"sub-{name.removeprefix('sub-')}" for name in named}
        _check_named(labels, known, parts)
        return labels
    if split is None:
        logger.info("The model has no training/split.tsv: the scans of all subjects are used.")
        return known
    logger.info("The training and validation subjects of %s are used, nobody else.", split)
    return {subject for subject in known if parts.get(subject) in ("train", "validation")}


def _check_named(labels: set[str], known: set[str], parts: dict[str, str]) -> None:
    for label in sorted(labels):
        if label not in known:
            raise UsageError(f"{label} of --subjects has no scan in the derivatives: correct its label.")
        if parts.get(label) == "test":
            raise UsageError(
                f"{label} of --subjects is a test subject of this model: a depth chosen on it would spoil "
                "the test, so leave it out."
            )


def choose_scans(
    scans: Sequence[DerivedScan], subjects: set[str], limit: int | None = None
) -> list[DerivedScan]:
    """Choose the scans to try settings on.

    Args:
        scans: all scans there are; those of unknown site are left out.
        subjects: whose scans may be taken.
        limit: most scans of each sequence: those of travelling subjects first, then sites take turns.

    Raises:
        NoInputError: no sequence is left with scans from two sites.
    """
    usable = _in_turn([scan for scan in scans if scan.subject in subjects and scan.site != "n/a"])
    chosen = []
    for sequence in sorted({scan.sequence for scan in usable}):
        part = [scan for scan in usable if scan.sequence == sequence][:limit]
        if len({scan.site for scan in part}) > 1:
            chosen += part
        else:
            logger.info("The %s are left out: they come from one site only.", sequence)
    if not chosen:
        raise NoInputError(
            "The distance between sites cannot be measured: the chosen subjects have no sequence with scans "
            "from two known sites. Give more derivatives, or name other --subjects."
        )
    return chosen


def _in_turn(scans: Sequence[DerivedScan]) -> list[DerivedScan]:
    travelling = travelling_subjects(scans)
    seen: Counter[tuple[str, str]] = Counter()

    def key(scan: DerivedScan) -> tuple[bool, int, str]:
        if scan.subject in travelling:
            return False, 0, scan.subject
        seen[scan.sequence, scan.site] += 1
        return True, seen[scan.sequence, scan.site], scan.site

    return sorted(scans, key=key)


def read_scan(found: DerivedScan, grid: ModelConfig | Grid) -> ScanArrays:
    """Read a scan as training does, on a model's grid or another one.

    Raises:
        BadDataError: it cannot be read or does not fit the grid.
    """
    volume = load_on_grid(found, grid.shape).astype(np.float32)
    return ScanArrays(
        name=found.image.name.removesuffix(".nii.gz"),
        subject=found.subject,
        site=found.site,
        sequence=found.sequence,
        preproc=volume,
        mask=volume > BACKGROUND,
        spacing=(grid.spacing,) * 3,
    )
