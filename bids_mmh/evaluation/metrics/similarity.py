"""Similarity of two scans of one subject, for example at a source and at the target site.

All metrics use the voxels in both brain masks only, on scaled intensities clipped to [-1, 1]: the large equal
background would raise the similarity of every pair, and a few bright vessels beyond the range would lower it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.bounding_box import bounding_box
from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.statistics import HISTOGRAM_BINS, HISTOGRAM_RANGE, wasserstein

DATA_RANGE = HISTOGRAM_RANGE[1] - HISTOGRAM_RANGE[0]
SSIM_SIGMA = 1.5  # voxels; the Gaussian window and the constants of Wang et al. 2004
_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True)
class Similarity:
    """Similarity of two scans inside both brain masks.

    Attributes:
        ssim: Structural similarity, mean over the brain, in [-1, 1].
        psnr: Peak signal-to-noise ratio for a data range of 2, dB; infinite for equal scans.
        pcc: Pearson's correlation coefficient of the intensities, in [-1, 1].
        wd: Wasserstein distance of the histograms (see ``statistics.wasserstein``), in [0, 1].
    """

    ssim: float
    psnr: float
    pcc: float
    wd: float


def similarity(first: NDArray[Any], second: NDArray[Any], mask: NDArray[Any]) -> Similarity:
    """Compare two scans on one grid.

    Args:
        first: Scaled intensities, shape (x, y, z).
        second: Scaled intensities on the same grid.
        mask: Intersection of both brain masks; non-zero is brain.

    Returns:
        The four metrics; they are symmetric in the two scans.

    Raises:
        BadDataError: If the shapes differ, the mask is empty, or a scan is constant or not finite in it.

    Examples:
        >>> scan = np.random.default_rng(0).uniform(-1, 1, size=(12, 12, 12))
        >>> same = similarity(scan, scan, np.ones(scan.shape))
        >>> round(same.ssim, 3), same.psnr, same.wd
        (1.0, inf, 0.0)
    """
    inside, a, b = _crop(first, second, mask)
    x, y = a[inside].astype(np.float64), b[inside].astype(np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or x.std() == 0 or y.std() == 0:
        raise BadDataError("A scan is flat or not finite inside the brain mask: check the scan and its mask.")
    error = float(np.mean((x - y) ** 2))
    return Similarity(
        ssim=_ssim(a, b, inside),
        psnr=float(10 * np.log10(DATA_RANGE**2 / error)) if error > 0 else float("inf"),
        pcc=float(np.corrcoef(x, y)[0, 1]),
        wd=wasserstein(intensity_histogram(x), intensity_histogram(y)),
    )


def intensity_histogram(values: NDArray[Any]) -> NDArray[np.int64]:
    """Count scaled intensities, clipped to [-1, 1], in the 100 bins of the method.

    Args:
        values: Intensities of the brain's voxels, any shape.

    Returns:
        Counts, shape (100,).

    Examples:
        >>> counts = intensity_histogram(np.array([-5.0, -1.0, 0.999]))
        >>> counts[0].item(), counts[-1].item(), counts.sum().item()
        (2, 1, 3)
    """
    return np.histogram(np.clip(values, *HISTOGRAM_RANGE), bins=HISTOGRAM_BINS, range=HISTOGRAM_RANGE)[0]


def _crop(
    first: NDArray[Any], second: NDArray[Any], mask: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """The mask and both scans within the mask's bounding box, clipped; 0 outside the mask."""
    inside = np.asarray(mask) != 0
    if inside.ndim != 3 or first.shape != inside.shape or second.shape != inside.shape:
        raise BadDataError(
            f"Scans of shapes {first.shape} and {second.shape} and a mask of shape {inside.shape} "
            "are not on one 3-D grid."
        )
    box = bounding_box(inside)
    if box is None:
        raise BadDataError("The brain masks of two scans of one subject do not overlap: check the masks.")
    a, b = (
        np.where(inside[box], np.clip(image[box], *HISTOGRAM_RANGE), 0).astype(np.float32)
        for image in (first, second)
    )
    return inside[box], a, b


def _ssim(a: NDArray[np.float32], b: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Mean SSIM over the mask, 11-voxel Gaussian windows that see voxels of the mask only.

    Windows that saw the background too would find its step to the brain in both scans, in every rim voxel.
    """
    from scipy.ndimage import gaussian_filter

    # SSIM compares ratios of means, so intensities have to count from the background: [0, 2].
    a, b = a + inside, b + inside

    def windowed(values: NDArray[Any]) -> NDArray[np.float32]:
        smooth = gaussian_filter(values.astype(np.float32), SSIM_SIGMA, truncate=3.5, mode="constant")
        return np.asarray(smooth[inside])

    weight = windowed(inside)
    mean_a, mean_b = windowed(a) / weight, windowed(b) / weight
    var_a = windowed(a * a) / weight - mean_a**2
    var_b = windowed(b * b) / weight - mean_b**2
    cov = windowed(a * b) / weight - mean_a * mean_b
    c1, c2 = (_K1 * DATA_RANGE) ** 2, (_K2 * DATA_RANGE) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * cov + c2) / (var_a + var_b + c2)
    return float((luminance * structure).mean(dtype=np.float64))
