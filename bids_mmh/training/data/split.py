"""Which subjects are trained on, which validate, and which are for testing and never read.

Subjects are split, never scans, and a label counts as one subject in whichever folders it occurs.
"""

import csv
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.evaluation.metrics.site_ranking import UNKNOWN
from bids_mmh.files import atomic_path
from bids_mmh.method.model_files import STAGE1_FOLDER, TRAINING_FOLDER
from bids_mmh.training.recipe import Recipe

logger = logging.getLogger("bids_mmh.training")

PARTS = ("train", "validation", "test")
SPLIT_FILE = "split.tsv"
TEST = 0.2  # of the subjects of a study who did not travel


@dataclass(frozen=True)
class Split:
    """Subjects of each part (labels with ``sub-``)."""

    train: frozenset[str]
    validation: frozenset[str]
    test: frozenset[str] = frozenset()

    def scans(self, scans: Sequence[DerivedScan], part: str) -> list[DerivedScan]:
        """Those of ``scans`` whose subject is in a part (``train``, ``validation`` or ``test``), in order."""
        subjects: frozenset[str] = getattr(self, part)
        return [scan for scan in scans if scan.subject in subjects]

    def write(self, path: Path) -> None:
        """Write the table that :func:`read_split` reads: participant_id, split."""
        rows = [(subject, part) for part in PARTS for subject in sorted(getattr(self, part))]
        with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerows([("participant_id", "split"), *rows])


def travelling_subjects(scans: Sequence[DerivedScan]) -> set[str]:
    """Subjects with scans from two or more (known) sites."""
    sites = _sites(scans)
    return {subject for subject, known in sites.items() if len(known - {UNKNOWN}) > 1}


def make_split(
    scans: Sequence[DerivedScan], recipe: Recipe, table: Path | None = None, test: Sequence[str] = ()
) -> Split:
    """Split the subjects of ``scans``.

    Args:
        scans: all scans there are.
        recipe: its ``validation``, ``seed``, ``travelling`` and ``test_subjects``.
        table: a table that says where each subject belongs; the recipe then decides nothing but
            ``test_subjects``, which stay out whatever the table says.
        test: further subjects to keep for testing.

    Raises:
        UsageError: the table lacks a subject or is not such a table, or a test subject does not exist.
        NoInputError: nobody is left to train on.
    """
    subjects = {scan.subject for scan in scans}
    named = _named(subjects, [*recipe.test_subjects, *test])
    if table is not None:
        split = _from_table(subjects - named, named, table)
    else:
        travelling = travelling_subjects(scans) - named if recipe.travelling == "test" else set()
        if travelling:
            logger.info(
                "%d subjects were scanned at several sites and are kept for testing "
                "(travelling = 'train' in the recipe would train on them): %s.",
                len(travelling),
                ", ".join(sorted(travelling)),
            )
        kept = named | travelling
        train, validation = split_subjects(
            [scan for scan in scans if scan.subject not in kept], recipe.validation, recipe.seed
        )
        split = Split(frozenset(train), frozenset(validation), frozenset(kept))
    if not split.train:
        raise NoInputError(
            f"Nobody is left to train on: {len(split.test)} of {len(subjects)} subjects are kept for testing "
            f"and {len(split.validation)} for validation. Name fewer, or set travelling = 'train' if they "
            "were scanned at several sites."
        )
    return split


def study_split(
    scans: Sequence[DerivedScan], recipe: Recipe, known: Mapping[str, str] | None = None, test: float = TEST
) -> Split:
    """Split the subjects of a study that is also to be evaluated.

    Travelling subjects test, whatever the recipe says, and so does a fraction of the others; each site gives
    its share of the test and the validation subjects and keeps at least one subject to train on.

    Args:
        scans: all scans there are.
        recipe: its ``validation``, ``seed`` and ``test_subjects``.
        known: part of subjects that an earlier run has placed, by label; they stay where they are.
        test: fraction of the subjects who did not travel that test.

    Raises:
        UsageError: a test subject does not exist.
        NoInputError: nobody is left to train on.
    """
    homes = {subject: min(known - {UNKNOWN}, default=UNKNOWN) for subject, known in _sites(scans).items()}
    placed = {subject: part for subject, part in (known or {}).items() if subject in homes}
    kept = (travelling_subjects(scans) - placed.keys()) | _named(homes, recipe.test_subjects)
    placed |= dict.fromkeys(kept, "test")
    free = sorted(homes.keys() - placed.keys())
    order = np.random.default_rng(recipe.seed).permutation(len(free)).tolist()
    queues: dict[str, list[str]] = {}
    for subject in (free[i] for i in order):
        queues.setdefault(homes[subject], []).append(subject)
    for part, fraction in (("test", test), ("validation", recipe.validation)):
        placed |= dict.fromkeys(_hold_out(queues, round(fraction * len(free))), part)
    placed |= dict.fromkeys((subject for queue in queues.values() for subject in queue), "train")
    split = Split(*(frozenset(s for s in placed if placed[s] == part) for part in PARTS))
    if not split.train:
        raise NoInputError(
            f"Nobody is left to train on: {len(split.test)} of {len(homes)} subjects are kept for testing, "
            "among them all who were scanned at several sites. Add subjects of one site each, or harmonize "
            "with a model that exists."
        )
    return split


def _hold_out(queues: Mapping[str, list[str]], count: int) -> list[str]:
    """Take ``count`` subjects out of the sites' queues, each giving its share but never its last one."""
    given: Counter[str] = Counter()
    taken: list[str] = []
    while len(taken) < count and (able := [site for site in queues if len(queues[site]) > 1]):
        site = max(able, key=lambda site: ((len(queues[site]) + given[site]) / (given[site] + 1), site))
        taken.append(queues[site].pop())
        given[site] += 1
    return taken


def split_subjects(scans: Sequence[DerivedScan], fraction: float, seed: int) -> tuple[set[str], set[str]]:
    """Split subjects into training and validation sets, at least one each if there are two.

    Subjects are lined up by site, in random order within one, and every so many is taken: each site gives
    its share of the validation subjects to within one.
    """
    sites = _sites(scans)
    subjects = sorted(sites)
    if len(subjects) < 2:
        return set(subjects), set()
    generator = np.random.default_rng(seed)
    rank = dict(zip(subjects, generator.permutation(len(subjects)).tolist(), strict=True))
    line = sorted(subjects, key=lambda subject: (sorted(sites[subject]), rank[subject]))
    count = min(max(1, round(fraction * len(line))), len(line) - 1)
    places = ((np.arange(count) + generator.random()) * len(line) / count).astype(int)
    validation = {line[place] for place in places.tolist()}
    return set(subjects) - validation, validation


def read_split(path: Path) -> dict[str, str]:
    """Read a table with the columns participant_id (with or without ``sub-``) and split.

    Raises:
        UsageError: no such file or columns, an unknown part, or a subject in two parts.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [(row["participant_id"], row["split"]) for row in csv.DictReader(stream, delimiter="\t")]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UsageError(
            f"{path} is not a split ({error!r}): it needs the columns participant_id and split."
        ) from error
    parts: dict[str, str] = {}
    for subject, part in rows:
        if part not in PARTS:
            raise UsageError(f"{path}: {subject} is in split '{part}': use {', '.join(PARTS)}.")
        if parts.setdefault(_label(subject), part) != part:
            raise UsageError(f"{path}: {subject} is in two splits: keep one row.")
    return parts


def split_of(folder: Path) -> Path | None:
    """Find the table that a model was trained by.

    Args:
        folder: A model folder, or the Stage I folder inside one, whose training is the outer folder's.

    Returns:
        The table; None where there is none, as for the embedded model.
    """
    owner = folder.parent if folder.name == STAGE1_FOLDER else folder
    tables = [place / TRAINING_FOLDER / SPLIT_FILE for place in (folder, owner)]
    return next((table for table in tables if table.is_file()), None)


def all_splits_of(folder: Path) -> list[Path]:
    """Find the tables of a model and of every model inside its folder that it was fine-tuned from.

    Args:
        folder: A model folder.

    Returns:
        The tables, sorted by path.
    """
    return sorted(folder.glob(f"**/{TRAINING_FOLDER}/{SPLIT_FILE}"))


def _from_table(subjects: set[str], test: set[str], path: Path) -> Split:
    parts: Mapping[str, str] = read_split(path)
    missing = sorted(subjects - parts.keys())
    if missing:
        raise UsageError(
            f"{path} does not say where {missing[0]} belongs ({len(missing)} subjects are missing): add rows."
        )
    by_part = {part: frozenset(s for s in subjects if parts[s] == part) for part in PARTS}
    return Split(by_part["train"], by_part["validation"], by_part["test"] | test)


def _named(subjects: Collection[str], named: Sequence[str]) -> set[str]:
    labels = {_label(name) for name in named}
    unknown = sorted(labels - set(subjects))
    if unknown:
        raise UsageError(f"Test subject {unknown[0]} has no scan in the derivatives: correct its label.")
    return labels


def _label(subject: str) -> str:
    return f"sub-{subject.removeprefix('sub-')}"


def _sites(scans: Sequence[DerivedScan]) -> dict[str, set[str]]:
    sites: dict[str, set[str]] = {}
    for scan in scans:
        sites.setdefault(scan.subject, set()).add(scan.site)
    return sites
