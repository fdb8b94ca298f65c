"""What the group level leaves behind: evaluate the study, write its tables and its page."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bids_mmh import __version__
from bids_mmh.bids.atomic import write_json, write_text, write_tsv
from bids_mmh.bids.participants import read_ages, read_sexes
from bids_mmh.derivatives.index import parts_of
from bids_mmh.derivatives.outputs import OUTPUTS
from bids_mmh.derivatives.splits import TrainedSubjects, trained_subjects
from bids_mmh.errors import CannotCreateError
from bids_mmh.evaluation.outliers import find_outliers
from bids_mmh.group.evaluation.evaluate import EvaluationSettings, PartEvaluation, evaluate_study
from bids_mmh.group.evaluation.report import evaluation_methods, page_part, write_evaluation
from bids_mmh.group.site_comparison import Comparisons, compare_all_sites, write_site_distances
from bids_mmh.reports.group_page import StudyFacts, StudyPart, render_group_page
from bids_mmh.reports.group_table import ScanRow, data_dictionary

logger = logging.getLogger(__name__)

TABLES = ("group_table", "site_distances_table", "evaluation_table")
FORMER_TABLES = ("group_*.tsv", "evaluation_*.tsv")
"""Names of versions before 0.2, whose dictionaries pybids took for sidecars of every scan."""

Rankings = Mapping[str, Sequence[Mapping[str, str]]]


class ReportSettings(EvaluationSettings, Protocol):
    """The settings that the report reads."""

    @property
    def no_evaluation(self) -> bool:
        """Whether to leave the evaluation out: then no image is read."""


def write_study(
    settings: ReportSettings,
    rows: Sequence[ScanRow],
    warnings: Sequence[str],
    rankings: Rankings | None = None,
) -> Path:
    """Evaluate a study and write its tables, each with a data dictionary, and its page.

    That is ``group_<sequence>_table.tsv`` for each sequence, ``site_distances_<sequence>_table.tsv`` where
    there are two sites, ``evaluation_<sequence>_table.tsv`` where something was measured, ``group.html``, and
    the methods text in ``logs/``.

    Args:
        settings: Options of the run.
        rows: The scans of the study.
        warnings: Sentences about the study as a whole.
        rankings: Title to table of sites that a target was chosen from.

    Returns:
        The page.

    Raises:
        CannotCreateError: If a table or the page cannot be written.
        UsageError: If the split of a model in ``models/`` is damaged.
    """
    ages = read_ages(settings.output_dir)
    for problem in ages.problems:
        logger.info("%s", problem)
    trained = trained_subjects(settings.output_dir, rows)
    rows = _annotated(rows, trained, ages.years)
    evaluations: list[PartEvaluation] = []
    if not settings.no_evaluation:
        sexes = read_sexes(settings.output_dir)
        evaluations = evaluate_study(settings, rows, trained, ages.years, sexes)
    evaluations = [replace(part, skipped=(*part.skipped, *ages.problems)) for part in evaluations]
    comparisons = compare_all_sites(rows)
    try:
        tables = _write_tables(settings.output_dir, rows, comparisons, evaluations)
        facts = _facts(tables, warnings, rankings or {}, evaluation_methods(evaluations))
        if facts.methods:
            write_text(OUTPUTS["group_citation"].path(settings.output_dir), facts.methods)
        page = write_text(
            OUTPUTS["group_page"].path(settings.output_dir),
            render_group_page(_parts(rows, comparisons, evaluations), facts),
        )
        _remove_stale(settings.output_dir, tables)
    except OSError as error:
        raise CannotCreateError(
            f"The group tables cannot be written to {settings.output_dir} ({error}): "
            "check its permissions and the free space."
        ) from error
    return page


def _annotated(rows: Sequence[ScanRow], trained: TrainedSubjects, ages: Mapping[str, float]) -> list[ScanRow]:
    """Add to each scan what only the study as a whole tells: age, split, and whether it stands out."""
    verdicts = {}
    for sequence, space in {(row.sequence, row.space) for row in rows}:
        own = [place for place, row in enumerate(rows) if (row.sequence, row.space) == (sequence, space)]
        found = find_outliers([rows[place] for place in own])
        verdicts.update({own[place]: verdict for place, verdict in found.items()})
    return [
        replace(
            row,
            age=ages.get(row.participant_id),
            model_split=trained.parts.get(row.participant_id),
            suggestion=verdicts[place].suggestion if place in verdicts else None,
            outlier_reasons=verdicts[place].reasons if place in verdicts else (),
        )
        for place, row in enumerate(rows)
    ]


def _remove_stale(output_dir: Path, tables: Sequence[str]) -> None:
    """Remove tables of an earlier run that this one did not write: they would pass for current ones."""
    patterns = [*(OUTPUTS[key].pattern.format(sequence="*") for key in TABLES), *FORMER_TABLES]
    for table in [path for pattern in patterns for path in output_dir.glob(pattern)]:
        if table.name not in tables:
            table.unlink(missing_ok=True)
            table.with_suffix(".json").unlink(missing_ok=True)


def _write_tables(
    output_dir: Path,
    rows: Sequence[ScanRow],
    comparisons: Comparisons,
    evaluations: Sequence[PartEvaluation],
) -> list[str]:
    columns = data_dictionary()
    tables = []
    for sequence in sorted({row.sequence for row in rows}):
        records = (row.record() for row in rows if row.sequence == sequence)
        table = write_tsv(OUTPUTS["group_table"].path(output_dir, sequence=sequence), records, list(columns))
        write_json(table.with_suffix(".json"), columns)
        tables.append(table.name)
    tables += write_site_distances(output_dir, comparisons)
    return tables + write_evaluation(output_dir, evaluations)


def _facts(tables: Sequence[str], warnings: Sequence[str], rankings: Rankings, methods: str) -> StudyFacts:
    return StudyFacts(
        warnings=warnings,
        tables=tables,
        version=__version__,
        rankings=rankings,
        methods=methods,
    )


def _parts(
    rows: Sequence[ScanRow], comparisons: Comparisons, evaluations: Sequence[PartEvaluation]
) -> list[StudyPart]:
    measured = {(part.sequence, part.space): part for part in evaluations}
    parts = []
    for sequence, space, own in parts_of(rows):
        part = measured.get((sequence, space))
        evaluation = page_part(part) if part else None
        parts.append(StudyPart(sequence, space, own, comparisons[sequence, space], evaluation))
    return parts
