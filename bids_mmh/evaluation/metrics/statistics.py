"""Intensity statistics of an image inside its brain mask, and distances of histograms.

Intensities are those of the harmonization grid: scaled linearly so that the brain spans about [-1, 1] with
the background at -1. Histograms have 100 bins over [-1, 1], the same as the style records of the method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_mmh.errors import BadDataError

HISTOGRAM_BINS = 100
HISTOGRAM_RANGE = (-1.0, 1.0)
BIN_WIDTH = (HISTOGRAM_RANGE[1] - HISTOGRAM_RANGE[0]) / HISTOGRAM_BINS


@dataclass(frozen=True)
class ImageStatistics:
    """Statistics of the intensities inside a brain mask; all but the counts are in scaled intensity units.

    Attributes:
        voxels: Number of voxels in the mask.
        mean: Arithmetic mean.
        std: Population standard deviation.
        median: 50th percentile.
        p01: 1st percentile.
        p25: 25th percentile.
        p75: 75th percentile.
        p99: 99th percentile.
        skewness: Third standardised moment; 0 for an image without contrast.
        entropy: Shannon entropy of the histogram, bits, in [0, log2(100)].
        quartile_dispersion: Contrast that outliers do not move, (p75 - p25) / (p75 + p25 + 2): the quartile
            coefficient of dispersion of the intensities counted from the background at -1.
        out_of_range: Fraction of voxels outside [-1, 1], which the histogram leaves out, in [0, 1].
        histogram: Density per bin (100 bins over [-1, 1]); its integral over [-1, 1] is 1, or every bin is
            0 where no voxel lies within.
    """

    voxels: int
    mean: float
    std: float
    median: float
    p01: float
    p25: float
    p75: float
    p99: float
    skewness: float
    entropy: float
    quartile_dispersion: float
    out_of_range: float
    histogram: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the statistics in the form that sidecars store.

        Returns:
            Values by field name, with six significant digits.
        """
        record: dict[str, Any] = {
            name: _six_digits(value) for name, value in asdict(self).items() if name != "histogram"
        }
        record["voxels"] = self.voxels
        record["histogram"] = [_six_digits(value) for value in self.histogram]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "ImageStatistics":
        """Read the statistics from a sidecar.

        Args:
            record: From :meth:`to_dict`; keys that this version does not know are ignored.

        Returns:
            The statistics.

        Raises:
            BadDataError: If a statistic is missing or not a finite number, or the histogram has not 100 bins.
        """
        scalars = {f.name: _finite(record, f.name) for f in fields(cls) if f.name != "histogram"}
        bins = record.get("histogram")
        if not isinstance(bins, Sequence) or len(bins) != HISTOGRAM_BINS:
            raise BadDataError(f"The image statistics need a histogram of {HISTOGRAM_BINS} bins.")
        histogram = tuple(_finite({"histogram": value}, "histogram") for value in bins)
        voxels = int(scalars.pop("voxels"))
        return cls(voxels=voxels, histogram=histogram, **scalars)


def image_statistics(values: NDArray[Any]) -> ImageStatistics:
    """Describe the intensities of one image inside its mask.

    Args:
        values: Intensities of the voxels in the mask, any shape, scaled so that the brain spans about
            [-1, 1].

    Returns:
        The statistics.

    Raises:
        BadDataError: If there is no voxel, or a value is not finite.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    if flat.size == 0 or not np.isfinite(flat).all():
        raise BadDataError("Image statistics need at least one voxel in the mask and only finite values.")
    mean, std = float(flat.mean()), float(flat.std())
    p01, p25, median, p75, p99 = (float(p) for p in np.percentile(flat, [1, 25, 50, 75, 99]))
    counts, _ = np.histogram(flat, bins=HISTOGRAM_BINS, range=HISTOGRAM_RANGE)
    inside = int(counts.sum())
    share = counts / max(inside, 1)
    above_background = p25 + p75 + 2.0
    return ImageStatistics(
        voxels=flat.size,
        mean=mean,
        std=std,
        median=median,
        p01=p01,
        p25=p25,
        p75=p75,
        p99=p99,
        skewness=_skewness(flat, mean, std),
        entropy=float(-np.sum(share[share > 0] * np.log2(share[share > 0]))) + 0.0,
        quartile_dispersion=(p75 - p25) / above_background if above_background > 0 else 0.0,
        out_of_range=1.0 - inside / flat.size,
        histogram=tuple((share / BIN_WIDTH).tolist()),
    )


def _skewness(values: NDArray[np.float64], mean: float, std: float) -> float:
    off = values - mean
    # a product: NumPy takes the third power of every value by logarithms
    return float((off * off * off).mean()) / std**3 if std > 0 else 0.0


def wasserstein(hist_a: ArrayLike, hist_b: ArrayLike) -> float:
    """Compute the Wasserstein distance of two histograms as the method defines it.

    It is the mean over the bins of the absolute difference of the two cumulative distributions. Over
    [-1, 1] that is half the first Wasserstein distance in intensity units.

    Args:
        hist_a: Histogram of shape (bins,), counts or densities; it is normalised here.
        hist_b: Histogram of the same shape over the same range.

    Returns:
        The distance, in [0, 1]: 0 for equal histograms.

    Raises:
        BadDataError: If the shapes differ or a histogram is empty.

    Examples:
        >>> wasserstein([1, 0, 0, 0], [2, 0, 0, 0]), wasserstein([1, 0, 0, 0], [0, 0, 0, 1])
        (0.0, 0.75)
    """
    a, b = np.asarray(hist_a, dtype=np.float64), np.asarray(hist_b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise BadDataError(f"Histograms of shapes {a.shape} and {b.shape} cannot be compared.")
    return float(np.abs(cumulative(a) - cumulative(b)).mean())


def cumulative(histograms: ArrayLike) -> NDArray[np.float64]:
    """Compute the cumulative distributions of histograms.

    Args:
        histograms: Counts or densities of shape (..., bins).

    Returns:
        Cumulative fractions of the same shape; the last bin is 1.

    Raises:
        BadDataError: If a histogram is empty.

    Examples:
        >>> cumulative([1, 2, 1]).tolist()
        [0.25, 0.75, 1.0]
    """
    counts = np.asarray(histograms, dtype=np.float64)
    total = counts.sum(axis=-1, keepdims=True)
    if np.any(total <= 0):
        raise BadDataError("An empty histogram (no voxel within [-1, 1]) has no cumulative distribution.")
    return np.asarray(np.cumsum(counts / total, axis=-1))


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def _finite(record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise BadDataError(f"The image statistics need a finite number for '{name}', not {value!r}.")
    return float(value)
