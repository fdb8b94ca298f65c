"""Distances between the intensity histograms of scans, within a site and between sites."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.statistics import cumulative


@dataclass(frozen=True)
class SiteDistances:
    """Mean pairwise Wasserstein distances of scans, by site.

    Attributes:
        sites: Site names, sorted; they label the rows and the columns of ``matrix``.
        matrix: Shape (sites, sites). Off the diagonal the mean distance of every scan of one site to every
            scan of the other; on it the mean over the pairs of one site, NaN for a site of one scan.
    """

    sites: tuple[str, ...]
    matrix: NDArray[np.float64]

    @property
    def intra_site(self) -> float:
        """Mean of the distances within sites, each site counting once; NaN where no site has two scans."""
        within = np.diag(self.matrix)
        known = within[np.isfinite(within)]
        return float(known.mean()) if known.size else float("nan")

    @property
    def inter_site(self) -> float:
        """Mean of the distances between sites, each pair counting once; NaN for fewer than two sites."""
        between = self.matrix[np.triu_indices(len(self.sites), k=1)]
        return float(between.mean()) if between.size else float("nan")


def site_distances(histograms: ArrayLike, sites: Sequence[str]) -> SiteDistances:
    """Compare scans within and between sites by the distance of their histograms.

    Args:
        histograms: Counts or densities, shape (scans, bins).
        sites: The site of each scan.

    Returns:
        The distances, in [0, 1].

    Raises:
        BadDataError: If the number of sites is not that of the histograms, or a histogram is empty.

    Examples:
        >>> distances = site_distances([[1, 0], [1, 0], [0, 1]], ["A", "A", "B"])
        >>> distances.intra_site, distances.inter_site
        (0.0, 0.5)
    """
    curves = cumulative(histograms)
    if curves.ndim != 2 or len(curves) != len(sites):
        raise BadDataError(f"{len(sites)} sites do not label histograms of shape {curves.shape}.")
    labels = np.asarray(sites)
    names = tuple(sorted(set(sites)))
    matrix = np.full((len(names), len(names)), np.nan)
    for row, first in enumerate(names):
        for column in range(row, len(names)):
            matrix[row, column] = matrix[column, row] = _mean_distance(
                curves[labels == first], curves[labels == names[column]], same=row == column
            )
    return SiteDistances(sites=names, matrix=matrix)


def _mean_distance(first: NDArray[np.float64], second: NDArray[np.float64], *, same: bool) -> float:
    pairs = len(first) * len(second) - (len(first) if same else 0)
    if pairs == 0:
        return float("nan")
    # A scan is at distance 0 from itself: the sum may include it, the count may not.
    return float(cdist(first, second, metric="cityblock").sum() / first.shape[1] / pairs)
