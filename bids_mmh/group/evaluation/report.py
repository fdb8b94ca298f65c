"""The evaluation of a study as files and as part of the page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_mmh.bids.atomic import write_json, write_tsv
from bids_mmh.derivatives.outputs import OUTPUTS
from bids_mmh.evaluation.controls.combat import COMBAT
from bids_mmh.evaluation.controls.methods import RAW
from bids_mmh.evaluation.probes.features import tsne
from bids_mmh.evaluation.subject_metrics import HARMONIZED
from bids_mmh.group.evaluation.evaluate import PartEvaluation
from bids_mmh.group.evaluation.pictures import travelling_pictures
from bids_mmh.group.evaluation.rows import evaluation_rows
from bids_mmh.reports.citation_evaluation import Evaluated, evaluation_text
from bids_mmh.reports.evaluation_table import evaluation_dictionary
from bids_mmh.reports.figures.evaluation import FeatureMap
from bids_mmh.reports.group_evaluation import EvaluationPart


def write_evaluation(output_dir: Path, parts: Sequence[PartEvaluation]) -> list[str]:
    """Write ``evaluation_<sequence>_table.tsv`` with its data dictionary for each sequence that was measured.

    Args:
        output_dir: Root of the derivatives.
        parts: The evaluation by sequence and space.

    Returns:
        Names of the tables.
    """
    columns = evaluation_dictionary()
    tables = []
    for sequence in sorted({part.sequence for part in parts if part.summary}):
        records = (
            row.record() for part in parts if part.sequence == sequence for row in evaluation_rows(part)
        )
        table = write_tsv(
            OUTPUTS["evaluation_table"].path(output_dir, sequence=sequence), records, list(columns)
        )
        write_json(table.with_suffix(".json"), columns)
        tables.append(table.name)
    return tables


def evaluation_methods(parts: Sequence[PartEvaluation]) -> str:
    """Write the methods text; nothing where nothing was measured."""
    measured = [part for part in parts if part.summary]
    if not measured:
        return ""
    return evaluation_text(
        [
            Evaluated(
                sequence=part.sequence,
                scans=len(part.scans),
                subjects=len({scan.subject for scan in part.scans}),
                sites=len({scan.site for scan in part.scans}),
                pairs=sum(len(subject.pairs) for subject in (part.subjects or {}).values()),
                target=part.target,
                segmenter=part.segmenter,
                age=part.summary.methods[RAW].age is not None,
                volumes=any((own.probe or own.age) is not None for own in part.summary.volumes.values()),
                combat=COMBAT in part.summary.volumes,
            )
            for part in measured
            if part.summary
        ],
        max(part.trained_on for part in parts),
    )


def page_part(part: PartEvaluation) -> EvaluationPart:
    """Put the evaluation of one sequence and space into the plain values of the page."""
    if part.summary is None:
        return EvaluationPart(part.sequence, part.space, part.target, part.notes, part.skipped)
    return EvaluationPart(
        part.sequence,
        part.space,
        part.target,
        part.notes,
        part.skipped,
        rows=evaluation_rows(part),
        main=HARMONIZED,
        raw=RAW,
        ages={scan.subject: scan.age for scan in part.scans if scan.age is not None},
        maps=_maps(part),
        map_sites=[scan.site for scan in part.scans],
        map_subjects=[scan.subject for scan in part.scans],
        pictures=travelling_pictures(part),
    )


def _maps(part: PartEvaluation) -> dict[str, FeatureMap]:
    maps = {}
    for method in (RAW, HARMONIZED):
        if part.summary and method in part.summary.methods:
            distances = part.summary.methods[method].distances
            features = np.array([scan.methods[method].features for scan in part.scans])
            maps[method] = FeatureMap(tsne(features), distances.inter_site, distances.intra_site)
    return maps
