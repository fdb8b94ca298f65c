"""The evaluation of a study from its derivatives: which subjects are measured, and against what."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from bids_mmh.derivatives.index import PREPROCESSED, parts_of
from bids_mmh.derivatives.models import UNIFIED
from bids_mmh.derivatives.scan import DerivedScan, read_derived
from bids_mmh.derivatives.splits import TrainedSubjects
from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.cohort import Cohort, choose_cohort, draw, subject_pairs
from bids_mmh.evaluation.controls.methods import Fit, fit_controls
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.evaluation.segmentation import Segmenter, find_segmenter, synthseg_executable
from bids_mmh.evaluation.study import MeasuredScan, Summary, summarise
from bids_mmh.evaluation.subject_metrics import SubjectMetrics
from bids_mmh.group.evaluation.subject_jobs import (
    FitFor,
    SubjectJob,
    evaluation_grid,
    measure_subjects,
    read_preprocessed,
    scan_stamp,
)
from bids_mmh.preprocess.grid import Grid
from bids_mmh.reports.group_table import ScanRow
from bids_mmh.settings import AUTO, NO_TARGET

logger = logging.getLogger(__name__)

MOST_SCANS, MOST_SCANS_SYNTHSEG = 120, 24
"""Of each sequence by default: SynthSeg takes minutes for each of eight versions of a scan on a CPU."""
MOST_REFERENCES = 20
"""Subjects that the controls are fitted on; one scan each."""


class EvaluationSettings(Protocol):
    """The settings that the evaluation reads."""

    @property
    def output_dir(self) -> Path:
        """Root of the derivatives."""

    @property
    def work_dir(self) -> Path:
        """Where metrics are kept for later runs."""

    @property
    def nprocs(self) -> int:
        """Most processes at a time."""

    @property
    def mem(self) -> float | None:
        """Memory to stay below, GB; None for all."""

    @property
    def random_seed(self) -> int:
        """Decides whose scans are measured in a big study."""

    @property
    def target_site(self) -> str:
        """The site to compare with, where one was asked for; ``auto`` or ``none`` otherwise."""

    @property
    def evaluation_scans(self) -> int | None:
        """Most scans of each sequence that are measured; 0 for all, None for the default."""


@dataclass(frozen=True, eq=False)
class PartEvaluation:
    """The evaluation of one sequence in one space.

    Attributes:
        sequence: Suffix.
        space: Template space.
        target: The site that harmonized scans are compared at; None where sites are compared with each other.
        notes: Sentences: which subjects were measured, and which were left out.
        skipped: Sentences: which parts there are not, and why.
        trained_on: How many subjects were left out because a model was trained on them.
        segmenter: What labelled the tissues.
        scans: What was measured, scan by scan.
        subjects: The same subject by subject, with the pairs.
        summary: The methods side by side; None where nothing could be measured.
        files: The measured scans' files, by name.
        fit_for: Gives what the controls learnt from other subjects than the one named.
    """

    sequence: str
    space: str
    target: str | None
    notes: tuple[str, ...]
    skipped: tuple[str, ...]
    trained_on: int = 0
    segmenter: str = ""
    scans: tuple[MeasuredScan, ...] = ()
    subjects: Mapping[str, SubjectMetrics] | None = None
    summary: Summary | None = None
    files: Mapping[str, DerivedScan] | None = None
    fit_for: FitFor | None = None


def evaluate_study(
    settings: EvaluationSettings,
    rows: Sequence[ScanRow],
    trained: TrainedSubjects,
    ages: Mapping[str, float],
    sexes: Mapping[str, str] = MappingProxyType({}),
) -> list[PartEvaluation]:
    """Measure the harmonized scans of a study beside raw and the controls.

    Args:
        settings: Options of the run.
        rows: The scans of the study.
        trained: Subjects that a model was trained on: they are left out.
        ages: Participant (with ``sub-``) to years.
        sexes: Participant to ``F`` or ``M``.

    Returns:
        One evaluation for each sequence and space. What is not possible is a sentence, never an error.
    """
    parts = []
    for sequence, _, own in parts_of(rows):
        part = _evaluate_part(settings, own, trained, ages, sexes)
        for sentence in (*part.notes, *part.skipped):
            logger.info("%s: %s", sequence, sentence)
        parts.append(part)
    return parts


def _evaluate_part(
    settings: EvaluationSettings,
    rows: Sequence[ScanRow],
    trained: TrainedSubjects,
    ages: Mapping[str, float],
    sexes: Mapping[str, str],
) -> PartEvaluation:
    sequence, space = rows[0].sequence, rows[0].space
    usable = _usable(settings.output_dir, rows)
    cap = settings.evaluation_scans
    if cap is None:
        cap = MOST_SCANS_SYNTHSEG if synthseg_executable() else MOST_SCANS
    cohort = choose_cohort(usable, trained.parts, cap, seed=settings.random_seed)
    notes = _notes(rows, usable, cohort, trained)
    if not cohort.scans:
        return PartEvaluation(sequence, space, None, notes, (_nobody(rows, usable),))
    target, target_notes = _choose_target(rows, cohort, settings.target_site)
    try:
        grid = evaluation_grid(cohort.scans[0].image)
    except BadDataError as error:
        return PartEvaluation(sequence, space, None, notes, (str(error),))
    references = _References(usable, target, grid, settings.random_seed)
    folder = _kept_folder(settings) / f"{sequence}_{space}"
    jobs = [_job(subject, cohort, target, references, folder) for subject in _subjects(cohort.scans)]
    segmenter = find_segmenter(grid.affine, threads=settings.nprocs)
    subjects, problems = measure_subjects(
        jobs, references.fit, segmenter, processes=settings.nprocs, mem=settings.mem
    )
    for problem in problems:
        logger.warning("%s", problem)
    scans = tuple(_measured(subjects, cohort.scans, ages, sexes))
    if not scans:
        return PartEvaluation(sequence, space, target, notes, tuple(problems))
    summary = summarise(scans, list(subjects.values()))
    return PartEvaluation(
        sequence,
        space,
        target,
        notes=(*notes, *target_notes, _how(grid, segmenter, references), *summary.notes),
        skipped=(*problems, *references.problems, *_no_pairs(subjects, target), *summary.reasons),
        trained_on=cohort.trained_on,
        segmenter=segmenter.name,
        scans=scans,
        subjects=subjects,
        summary=summary,
        files={scan.name.source: scan for scan in cohort.scans},
        fit_for=references.fit,
    )


def _usable(output_dir: Path, rows: Sequence[ScanRow]) -> list[DerivedScan]:
    """Harmonized scans of known site whose preprocessed version is still there."""
    found = []
    for row in rows:
        if row.harmonized and row.site and not row.problem and row.sidecar:
            try:
                scan = read_derived(output_dir / row.sidecar)
            except BadDataError as error:
                logger.warning("%s is not measured: %s", row.scan, error)
                continue
            if scan.version(PREPROCESSED).is_file():
                found.append(scan)
    return found


def _notes(
    rows: Sequence[ScanRow],
    usable: Sequence[DerivedScan],
    cohort: Cohort[DerivedScan],
    trained: TrainedSubjects,
) -> tuple[str, ...]:
    sites, subjects = {scan.site for scan in cohort.scans}, set(_subjects(cohort.scans))
    notes = [
        f"Measured: {len(cohort.scans)} scans of {len(subjects)} subjects at {len(sites)} sites, "
        f"{len(cohort.travellers)} of whom were scanned at several sites (travelling subjects)."
    ]
    if len(cohort.scans) < cohort.sampled_from:
        notes.append(
            f"That is a fixed sample of {cohort.sampled_from} scans; --evaluation-scans 0 measures all."
        )
    if cohort.trained_on:
        notes.append(
            f"Left out: {cohort.trained_on} subjects that the model was trained or validated on. No "
            "metric of the evaluation is of them."
        )
    notes += [
        f"It is not known which subjects the model '{name}' was trained on (models/ holds no "
        "training/split.tsv of it): those of them that are in this study are measured too."
        for name in trained.unknown
    ]
    homeless = sum(row.harmonized and not row.problem and not row.site for row in rows)
    if homeless:
        notes.append(f"Left out: {homeless} scans of unknown site.")
    gone = sum(row.harmonized and bool(row.site) and not row.problem for row in rows) - len(usable)
    if gone:
        notes.append(f"Left out: {gone} scans whose files are not all there any more.")
    return tuple(notes)


def _nobody(rows: Sequence[ScanRow], usable: Sequence[DerivedScan]) -> str:
    if not any(row.harmonized for row in rows):
        return "Nothing to evaluate: no scan was harmonized yet."
    if not usable:
        return "Nothing to evaluate: no harmonized scan has a known site and its preprocessed version."
    return "Nothing to evaluate: the model was trained on all subjects. Keep some apart with --split."


def _choose_target(
    rows: Sequence[ScanRow], cohort: Cohort[DerivedScan], wanted: str
) -> tuple[str | None, tuple[str, ...]]:
    """The site asked for or the model's, if travelling subjects were there; else sites among each other."""
    among = "so scans of one subject at two sites are compared with each other, each as the method leaves it."
    found = {row.target for row in rows if row.harmonized and not row.problem} - {None}
    if wanted in (AUTO, NO_TARGET) and len(found) > 1:
        return None, (f"The scans were harmonized towards several targets, {among}",)
    target = next(iter(found), None) if wanted in (AUTO, NO_TARGET) else wanted
    if target in (None, UNIFIED):
        return None, (f"The model has no target site, {among}",)
    if not any(scan.site == target for scan in cohort.scans if scan.subject in cohort.travellers):
        return None, (f"No measured travelling subject was at the target site {target}, {among}",)
    aim = "" if found == {target} else " The model does not aim at this site."
    return target, (
        f"The target site is {target}: each scan of a travelling subject elsewhere, as the method leaves it, "
        f"is compared with the same subject's scan there, which no method has touched.{aim}",
    )


class _References:
    """Scans that the controls learn from, read when first needed; never of the subject they are used on."""

    def __init__(self, usable: Sequence[DerivedScan], target: str | None, grid: Grid, seed: int) -> None:
        first: dict[str, DerivedScan] = {}
        for scan in usable:
            if target in (None, scan.site):
                first.setdefault(scan.subject, scan)
        self.files = [first[subject] for subject in draw(first, seed)[:MOST_REFERENCES]]
        self.target, self.grid = target, grid
        self.problems: list[str] = []
        self._scans: list[ScanArrays] | None = None

    def fit(self, subject: str) -> Fit | None:
        """What the controls learn from others; None where there are none."""
        others = [scan for scan in self._read() if scan.subject != subject]
        return fit_controls(others, self.target) if others else None

    def stamps(self, subject: str) -> tuple[str, ...]:
        """Stamps of the files that a fit for a subject is made from."""
        return tuple(scan_stamp(file) for file in self.files if file.subject != subject)

    def _read(self) -> list[ScanArrays]:
        if self._scans is None:
            self._scans = []
            for file in self.files:
                try:
                    scan = read_preprocessed(file, self.grid)
                    fit_controls([scan], self.target)  # it must be good for every control
                    self._scans.append(scan)
                except BadDataError as error:
                    self.problems.append(f"The controls do without {file.name.source}: {error}")
        return self._scans


def _job(
    subject: str, cohort: Cohort[DerivedScan], target: str | None, references: _References, folder: Path
) -> SubjectJob:
    own = cohort.of(subject)
    return SubjectJob(
        scans=tuple(own),
        pairs=tuple((first.name.source, second.name.source) for first, second in subject_pairs(own, target)),
        raw_target=target is not None,
        grid=references.grid,
        fitted_on=references.stamps(subject),
        kept=folder / f"{subject}.json",
    )


def _kept_folder(settings: EvaluationSettings) -> Path:
    """One folder for each study that shares the work folder."""
    digest = hashlib.sha256(str(settings.output_dir.absolute()).encode()).hexdigest()[:8]
    return settings.work_dir / "evaluation" / digest


def _subjects(scans: Sequence[DerivedScan]) -> list[str]:
    return list(dict.fromkeys(scan.subject for scan in scans))


def _measured(
    subjects: Mapping[str, SubjectMetrics],
    scans: Sequence[DerivedScan],
    ages: Mapping[str, float],
    sexes: Mapping[str, str],
) -> Iterator[MeasuredScan]:
    for scan in scans:
        if scan.subject in subjects:
            metrics = subjects[scan.subject].scans[scan.name.source]
            age, sex = ages.get(scan.subject), sexes.get(scan.subject)
            yield MeasuredScan(scan.name.source, scan.subject, scan.site, age, metrics, sex)


def _no_pairs(subjects: Mapping[str, SubjectMetrics], target: str | None) -> list[str]:
    if any(subject.pairs for subject in subjects.values()):
        return []
    where = f"at {target} and another site" if target else "at two sites"
    return [
        f"Travelling subjects: none of the measured subjects was scanned {where}, so there is no SSIM, PSNR, "
        "PCC or WD between scans of one subject."
    ]


def _how(grid: Grid, segmenter: Segmenter, references: _References) -> str:
    used = len(references.files) - len(references.problems)
    where = f"at {references.target}" if references.target else "of all sites"
    return (
        f"Volumes were measured at {grid.spacing:g} mm. The controls were fitted on {used} subjects' scans "
        f"{where}, for each subject without its own. Tissues are by the {segmenter.name} segmentation."
    )
