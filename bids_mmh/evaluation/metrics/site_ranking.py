"""Ranking of sites by the variability of their scans; the least variable is the best target (paper 4.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from bids_mmh.evaluation.metrics.site_distance import site_distances

UNKNOWN = "n/a"
"""Stands for the site of a scan whose site is not known."""


@dataclass(frozen=True)
class SiteVariability:
    """Variability of the scans of a site.

    Attributes:
        site: Its name.
        scans: Number of its scans of the sequence that it has fewest of.
        variability: Mean pairwise Wasserstein distance of its scans' histograms, per sequence, averaged over
            the sequences; NaN if a sequence has fewer than two scans.
        qualifies: Whether it has enough scans of every sequence.
        by_sequence: The distance of each sequence separately; NaN likewise.
        counts: Number of scans of each sequence.
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
    """Rank sites by variability.

    Args:
        histograms: One per scan, counts or densities, shape (bins,).
        sites: The site of each scan, ``n/a`` if unknown.
        sequences: The sequence of each scan.
        min_scans: Number of scans of every sequence that a site needs to qualify.

    Returns:
        All sites, those that qualify first, the least variable first; the unknown site never qualifies.

    Examples:
        >>> histograms = [[4, 0], [0, 4], [2, 2], [2, 2]]
        >>> ranking = rank_by_variability(histograms, ["A", "A", "B", "B"], ["T1w"] * 4, min_scans=2)
        >>> [(one.site, one.variability) for one in ranking]
        [('B', 0.0), ('A', 0.5)]
    """
    members: dict[str, dict[str, list[int]]] = {site: {} for site in sites}
    for i, (site, sequence) in enumerate(zip(sites, sequences, strict=True)):
        members[site].setdefault(sequence, []).append(i)
    names = sorted(set(sequences))
    ranking = [_one_site(site, histograms, own, names, min_scans) for site, own in members.items()]
    return sorted(ranking, key=lambda one: (not one.qualifies, one.variability, one.site))


def choose_site(ranking: Sequence[SiteVariability], wanted: str | None = None) -> str | None:
    """Choose the target site, the same way wherever one is chosen.

    Args:
        ranking: From :func:`rank_by_variability`.
        wanted: A site that was asked for; it is taken whether or not it qualifies.

    Returns:
        The wanted site, else the least variable one that qualifies; None where none does, or where the wanted
        one does not exist.

    Examples:
        >>> ranking = [SiteVariability("A", 4, 0.1, True), SiteVariability("B", 1, 0.2, False)]
        >>> choose_site(ranking), choose_site(ranking, "B"), choose_site(ranking, "C")
        ('A', 'B', None)
    """
    if wanted is not None:
        return wanted if wanted in known_sites(ranking) else None
    return next((one.site for one in ranking if one.qualifies), None)


def known_sites(ranking: Sequence[SiteVariability]) -> list[str]:
    """Name the sites of a ranking.

    Args:
        ranking: From :func:`rank_by_variability`.

    Returns:
        The names in alphabetical order, without that of scans of unknown site.
    """
    return sorted(one.site for one in ranking if one.site != UNKNOWN)


def excluded_sites(ranking: Sequence[SiteVariability]) -> list[SiteVariability]:
    """List the known sites that cannot be the automatic target.

    Args:
        ranking: From :func:`rank_by_variability`.

    Returns:
        Those that do not qualify, by name.
    """
    return sorted(
        (one for one in ranking if not one.qualifies and one.site != UNKNOWN), key=lambda one: one.site
    )


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
