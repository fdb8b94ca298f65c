"""The evaluation of a study as rows of its long table."""

from collections.abc import Iterator

from bids_mmh.evaluation.controls.methods import RAW
from bids_mmh.evaluation.study import SIMILARITY, MeasuredScan, MethodSummary, scan_metrics
from bids_mmh.evaluation.subject_metrics import SubjectMetrics
from bids_mmh.group.evaluation.evaluate import PartEvaluation
from bids_mmh.reports.evaluation_table import PAIR, SCAN, STUDY, EvaluationRow


def evaluation_rows(part: PartEvaluation) -> list[EvaluationRow]:
    """Give every metric of one sequence and space a row: those of the study, of the scans, of the pairs.

    Args:
        part: Its evaluation.
    """
    if part.summary is None:
        return []
    sites = {scan.name: scan.site for scan in part.scans}
    rows = [row for name, method in part.summary.methods.items() for row in _study(part.space, name, method)]
    rows += [row for scan in part.scans for row in _scan(part.space, scan)]
    for subject, metrics in (part.subjects or {}).items():
        rows += _pairs(part.space, subject, metrics, sites)
    return rows


def _study(space: str, name: str, method: MethodSummary) -> Iterator[EvaluationRow]:
    for measure, spread in {**method.likeness, **method.anatomy}.items():
        yield EvaluationRow(space, STUDY, name, measure, spread.mean, spread.sd, spread.n, spread.p)
    yield EvaluationRow(space, STUDY, name, "inter_site_wd", method.inter_site_wd)
    yield EvaluationRow(space, STUDY, name, "feature_inter_site", method.distances.inter_site)
    yield EvaluationRow(space, STUDY, name, "feature_intra_site", method.distances.intra_site)
    probe, age, grey = method.probe, method.age, method.grey_matter
    if probe is not None:
        yield EvaluationRow(
            space, STUDY, name, "site_accuracy", probe.balanced_accuracy, n=probe.scans, p=probe.p
        )
        yield EvaluationRow(space, STUDY, name, "site_chance", probe.chance, n=probe.scans)
        yield EvaluationRow(space, STUDY, name, "site_null_high", probe.null_high, n=probe.scans)
    if age is not None:
        yield EvaluationRow(space, STUDY, name, "age_mae", age.mae, n=age.subjects)
        yield EvaluationRow(space, STUDY, name, "age_mae_of_mean", age.mae_of_mean, n=age.subjects)
    if grey is not None:
        p, z = (None, 0.0) if name == RAW else (grey.p, grey.z)
        yield EvaluationRow(space, STUDY, name, "grey_matter_age_r", grey.after, n=grey.subjects, p=p)
        yield EvaluationRow(space, STUDY, name, "grey_matter_age_z", z, n=grey.subjects)


def _scan(space: str, scan: MeasuredScan) -> Iterator[EvaluationRow]:
    for name, metrics in scan.methods.items():
        measures = {**scan_metrics(metrics), "grey_matter_ratio": metrics.grey_matter_ratio}
        for measure, value in measures.items():
            yield EvaluationRow(
                space,
                SCAN,
                name,
                measure,
                value,
                participant_id=scan.subject,
                scan=scan.name,
                site=scan.site,
            )


def _pairs(
    space: str, subject: str, metrics: SubjectMetrics, sites: dict[str, str]
) -> Iterator[EvaluationRow]:
    for pair in metrics.pairs:
        for name, likeness in pair.methods.items():
            for measure in SIMILARITY:
                yield EvaluationRow(
                    space,
                    PAIR,
                    name,
                    measure,
                    getattr(likeness, measure),
                    participant_id=subject,
                    scan=pair.scan,
                    site=sites[pair.scan],
                    other_scan=pair.other,
                    other_site=sites[pair.other],
                )
