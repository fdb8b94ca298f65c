"""Sites by how much their scans differ from each other: the steadiest makes the best target (paper 4.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from bids_mmh.evaluation.metrics.site_distance import site_distances

UNKNOWN = "n/a"
"""Stands for the site of a scan whose site is not known."""


@dataclass(frozen=True)
class SiteVariability:
    """How much the scans of a site differ.

    Attributes:
        site: Its name.
        scans: Fewest scans that it has of any sequence.
        variability: Mean pairwise Wasserstein distance of its scans' histograms, per sequence, averaged over
            the sequences; NaN where a sequence has one scan or none.
        qualifies: Whether it has enough scans of every sequence.
        by_sequence: The distance of each sequence on its own; NaN likewise.
        counts: Scans of each sequence.
    """

    site: str
    scans: int
    variability: float
    qualifies: bool
    by_sequence: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def rank_by_variability(
    histograms: Sequence[ArrayLike], sites: Sequence[str], sequences: Sequence[str], min_scans: int
) -> list[SiteVariability]:
    """Rank sites.

    Args:
        histograms: One a scan, counts or densities of shape (bins,).
        sites: The site of each scan, ``n/a`` where it is not known.
        sequences: The sequence of each scan.
        min_scans: Of every sequence that there is, for a site to qualify.

    Returns:
        All sites, those that qualify first, the least variable first; the unknown site never qualifies.
    """
    members: dict[str, dict[str, list[int]]] = {site: {} for site in sites}
    for i, (site, sequence) in enumerate(zip(sites, sequences, strict=True)):
        members[site].setdefault(sequence, []).append(i)
    names = sorted(set(sequences))
    ranking = [_one_site(site, histograms, own, names, min_scans) for site, own in members.items()]
    return sorted(ranking, key=lambda one: (not one.qualifies, one.variability, one.site))


def _one_site(
    site: str,
    histograms: Sequence[ArrayLike],
    members: Mapping[str, Sequence[int]],
    sequences: Sequence[str],
    min_scans: int,
) -> SiteVariability:
    counts = {sequence: len(members.get(sequence, ())) for sequence in sequences}
    within = {sequence: _spread([histograms[i] for i in members.get(sequence, ())]) for sequence in sequences}
    variability, fewest = float(np.mean(list(within.values()))), min(counts.values())
    qualifies = site != UNKNOWN and fewest >= min_scans and bool(np.isfinite(variability))
    return SiteVariability(site, fewest, variability, qualifies, within, counts)


def _spread(histograms: Sequence[ArrayLike]) -> float:
    """Mean distance of any two; NaN for fewer than two."""
    if len(histograms) < 2:
        return float("nan")
    return site_distances(
        np.stack([np.asarray(one) for one in histograms]), [""] * len(histograms)
    ).intra_site
