"""What ``table.py`` measures and ``figures.py`` draws: the methods of one sequence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_mmh.errors import NoInputError
from bids_mmh.evaluation.scans import ScanArrays, Visit
from bids_mmh.evaluation.study import MethodSummary
from bids_mmh.evaluation.subject_metrics import PairSimilarity, SubjectMetrics, Versions


class Method(NamedTuple):
    """What one method made of the test scans (by name), features of each, metrics by pair, and a summary."""

    outputs: Versions
    features: NDArray[np.float64]
    pairs: list[dict[str, float]]
    study: MethodSummary


@dataclass(frozen=True)
class Part:
    """One sequence of the study: test scans, travelling pairs, and all methods by name."""

    sequence: str
    target: str
    scans: list[ScanArrays]
    pairs: list[tuple[ScanArrays, ScanArrays]]
    methods: dict[str, Method]
    main: str | None
    stand_ins: dict[str, int]
    reasons: tuple[str, ...] = ()


def pair_metrics(subject: SubjectMetrics, pair: PairSimilarity, method: str) -> dict[str, float]:
    """Similarity of a pair, and what the method changed in the first of its scans."""
    scan = subject.scans[pair.scan][method]
    return {
        **asdict(pair.methods[method]),
        **{f"dice_{tissue.lower()}": scan.dice[tissue] for tissue in ("GM", "WM")},
        **{f"volume_{tissue.lower()}": scan.volume[tissue] for tissue in ("GM", "WM")},
        "anatomy": scan.anatomy,
        "spread": scan.spread,
    }


def by_scan(outputs: Mapping[str, Versions], scans: Sequence[ScanArrays]) -> dict[str, Versions]:
    """Outputs of methods, by name of the scan instead of by method."""
    return {scan.name: {name: volumes[scan.name] for name, volumes in outputs.items()} for scan in scans}


def choose_target(scans: Sequence[Visit], wanted: str | None = None) -> str:
    """Choose the site that the scans of travelling subjects are compared at.

    Args:
        scans: The scans of the study.
        wanted: A site; None for the one where most subjects with scans at several sites were (ties by name).

    Returns:
        The site.

    Raises:
        NoInputError: If nobody travelled, or no travelling subject was at the wanted site.
    """
    visited: dict[str, set[str]] = {}
    for scan in scans:
        visited.setdefault(scan.subject, set()).add(scan.site)
    counts = Counter(site for sites in visited.values() if len(sites) > 1 for site in sites)
    if not counts:
        raise NoInputError(
            "No subject was scanned at more than one site: these figures need travelling subjects."
        )
    if wanted is not None and wanted not in counts:
        raise NoInputError(
            f"No travelling subject was at site {wanted}: choose one of {', '.join(sorted(counts))}."
        )
    return wanted or min(counts, key=lambda site: (-counts[site], site))
