"""The evaluation of a study as rows of its long table."""

from collections.abc import Iterator, Sequence

from bids_mmh.evaluation.controls.methods import RAW
from bids_mmh.evaluation.probes.volumes import VolumeSummary
from bids_mmh.evaluation.study import METHODS, SIMILARITY, MeasuredScan, MethodSummary, Summary, scan_metrics
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
    rows = list(_whole_study(part.space, part.summary))
    rows += [row for scan in part.scans for row in _scan(part.space, scan)]
    for name, volumes in part.summary.volumes.items():
        rows += _totals(part.space, name, volumes, part.scans)
    for subject, metrics in (part.subjects or {}).items():
        rows += _pairs(part.space, subject, metrics, sites)
    return rows


def _whole_study(space: str, summary: Summary) -> Iterator[EvaluationRow]:
    for name in METHODS:
        if name in summary.methods:
            yield from _study(space, name, summary.methods[name])
        if name in summary.volumes:
            yield from _probes(space, name, "regional_", summary.volumes[name])


def _study(space: str, name: str, method: MethodSummary) -> Iterator[EvaluationRow]:
    for measure, spread in {**method.likeness, **method.anatomy}.items():
        yield EvaluationRow(space, STUDY, name, measure, spread.mean, spread.sd, spread.n, spread.p)
    yield EvaluationRow(space, STUDY, name, "inter_site_wd", method.inter_site_wd)
    yield EvaluationRow(space, STUDY, name, "feature_inter_site", method.distances.inter_site)
    yield EvaluationRow(space, STUDY, name, "feature_intra_site", method.distances.intra_site)
    yield from _probes(space, name, "", method)


def _probes(
    space: str, name: str, prefix: str, found: MethodSummary | VolumeSummary
) -> Iterator[EvaluationRow]:
    """Sites and ages, in features of images or (with the prefix) in regional volumes."""

    def row(measure: str, value: float, n: int, p: float | None = None) -> EvaluationRow:
        return EvaluationRow(space, STUDY, name, prefix + measure, value, n=n, p=p)

    probe, age, grey = found.probe, found.age, found.grey_matter
    if probe is not None:
        yield row("site_accuracy", probe.balanced_accuracy, probe.scans, probe.p)
        yield row("site_chance", probe.chance, probe.scans)
        yield row("site_null_high", probe.null_high, probe.scans)
    if age is not None:
        yield row("age_mae", age.mae, age.subjects)
        yield row("age_mae_of_mean", age.mae_of_mean, age.subjects)
    if grey is not None:
        p, z = (None, 0.0) if name == RAW else (grey.p, grey.z)
        yield row("grey_matter_age_r", grey.after, grey.subjects, p)
        yield row("grey_matter_age_z", z, grey.subjects)


def _totals(
    space: str, name: str, volumes: VolumeSummary, scans: Sequence[MeasuredScan]
) -> Iterator[EvaluationRow]:
    for scan in scans:
        if scan.name in volumes.totals:
            yield EvaluationRow(
                space,
                SCAN,
                name,
                "regional_grey_matter",
                volumes.totals[scan.name],
                participant_id=scan.subject,
                scan=scan.name,
                site=scan.site,
            )


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
