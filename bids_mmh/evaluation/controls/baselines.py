"""Classical intensity normalisations, the controls that a harmonization has to beat.

All take and give volumes in scaled intensity units (the brain spans about [-1, 1], the background is -1), so
that their outputs can be measured with the same metrics. What a control has to learn (``target``, ``scale``,
``reference``) is an argument of its own: whoever evaluates must fit it on other subjects than the one that
is normalised, or the control has seen the answer.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_mmh.errors import BadDataError

BACKGROUND = -1.0
Volume = NDArray[np.float32]

NYUL_PERCENTILES = (1, *range(10, 100, 10), 99)
# The ends of the standard scale: where the scaling of the harmonization grid puts the same percentiles.
NYUL_ENDS = (-0.9, 0.9)

STRIPE_HALF_WIDTH = 0.05  # of the brain's voxels, on either side of the mode, as in the reference code
_MODE_BIN = 0.01  # scaled units
_MODE_SMOOTHING = 2.0  # bins
_MODE_PROMINENCE = 0.01  # of the highest count
_RARE = 1 / 3  # of the highest count: lower modes are vessels, rims of the mask, fluid


class Moments(NamedTuple):
    """Location and spread of intensities, in scaled units."""

    mean: float
    std: float


def match_histogram(
    volume: NDArray[Any], mask: NDArray[Any], reference: NDArray[Any], reference_mask: NDArray[Any]
) -> Volume:
    """Match the histogram inside the brain mask to that of a reference scan (ITK, 256 levels, 64 quantiles).

    Args:
        volume: Scaled intensities, shape (x, y, z).
        mask: Brain mask of the same shape; non-zero is brain.
        reference: A scan of another subject at the target site; any shape.
        reference_mask: Its brain mask.

    Returns:
        The matched volume, background -1.

    Raises:
        BadDataError: If an image and its mask do not fit, or its intensities are flat or not finite.
    """
    import SimpleITK

    matcher = SimpleITK.HistogramMatchingImageFilter()
    matcher.SetNumberOfHistogramLevels(256)
    matcher.SetNumberOfMatchPoints(64)
    matcher.ThresholdAtMeanIntensityOff()
    matcher.SetNumberOfThreads(1)
    # The filter knows no masks, so it is given an image of the brain's voxels alone.
    source, target = (
        SimpleITK.GetImageFromArray(_brain(image, inside)[None, :])
        for image, inside in ((volume, mask), (reference, reference_mask))
    )
    return _put_back(SimpleITK.GetArrayFromImage(matcher.Execute(source, target))[0], mask)


def brain_moments(volume: NDArray[Any], mask: NDArray[Any]) -> Moments:
    """Give mean and population standard deviation inside the brain mask.

    Args:
        volume: Scaled intensities, shape (x, y, z).
        mask: Brain mask of the same shape.

    Raises:
        BadDataError: If the two do not fit, or the intensities are flat or not finite.
    """
    values = _brain(volume, mask)
    return Moments(float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)))


def white_stripe_moments(
    volume: NDArray[Any], mask: NDArray[Any], *, mode: Literal["last", "first"]
) -> Moments:
    """Find the white stripe: the mode of normal-appearing white matter and the spread around it.

    Shinohara et al. 2014 (doi:10.1016/j.nicl.2014.08.008); the stripe holds the intensities within 5 % of
    the brain's voxels on either side of the mode. Two choices differ from the authors' code: the histogram
    is smoothed with a Gaussian of 0.02 scaled units in place of penalised splines, and T2w takes the first
    mode, because the largest one is grey matter in some scans and white matter in others.

    Args:
        volume: Scaled intensities, shape (x, y, z).
        mask: Brain mask of the same shape.
        mode: ``last`` for T1w, where white matter is the brightest tissue; ``first`` for T2w, where it is the
            darkest. Modes of less than a third of the highest do not count.

    Returns:
        The mode, and the standard deviation within the stripe.

    Raises:
        BadDataError: If the two do not fit, or the intensities are flat or not finite.
    """
    values = _brain(volume, mask)
    peak = _histogram_mode(values, mode)
    rank = float((values < peak).mean())
    low, high = np.quantile(values, (max(rank - STRIPE_HALF_WIDTH, 0), min(rank + STRIPE_HALF_WIDTH, 1)))
    spread = float(values[(values >= low) & (values <= high)].std(dtype=np.float64))
    if spread == 0:
        raise BadDataError("The white stripe of a scan has no spread: check the scan and its mask.")
    return Moments(peak, spread)


def _histogram_mode(values: Volume, mode: Literal["last", "first"]) -> float:
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    low, high = np.quantile(values, (0.001, 0.999))
    counts, edges = np.histogram(values, bins=np.arange(low - 0.1, high + 0.1, _MODE_BIN))
    smooth = gaussian_filter1d(counts.astype(np.float64), _MODE_SMOOTHING)
    top = smooth.max()
    peaks, _ = find_peaks(smooth, height=_RARE * top, prominence=_MODE_PROMINENCE * top)
    best = peaks[-1 if mode == "last" else 0]
    return float((edges[best] + edges[best + 1]) / 2)


def mean_moments(moments: Sequence[Moments]) -> Moments:
    """Average the moments of several scans, for example those of other subjects at the target site.

    Raises:
        BadDataError: If there is none.
    """
    if not moments:
        raise BadDataError("No scans to learn the target's intensities from.")
    mean, std = np.mean(moments, axis=0)
    return Moments(float(mean), float(std))


def match_moments(volume: NDArray[Any], mask: NDArray[Any], own: Moments, target: Moments) -> Volume:
    """Standardise by a scan's own moments and map by the target's: the z-score and the WhiteStripe control.

    Args:
        volume: Scaled intensities, shape (x, y, z).
        mask: Brain mask of the same shape.
        own: What ``brain_moments`` (z-score) or ``white_stripe_moments`` (WhiteStripe) found in this scan.
        target: Mean of the same moments over other subjects' scans at the target site.

    Returns:
        ``(volume - own.mean) / own.std * target.std + target.mean`` in the brain, background -1.

    Raises:
        BadDataError: If volume and mask do not fit, or the intensities are flat or not finite.
    """
    values = (_brain(volume, mask) - own.mean) / own.std
    return _put_back(values * target.std + target.mean, mask)


def nyul_landmarks(volume: NDArray[Any], mask: NDArray[Any]) -> NDArray[np.float64]:
    """Give the histogram landmarks of one scan: the percentiles 1, 10, 20 … 90, 99 in the brain, shape (11,).

    Raises:
        BadDataError: If volume and mask do not fit, or two landmarks coincide.
    """
    landmarks = np.percentile(_brain(volume, mask), NYUL_PERCENTILES).astype(np.float64)
    if np.any(np.diff(landmarks) <= 0):
        raise BadDataError("Percentiles of a scan coincide, so it has no Nyúl landmarks: check its mask.")
    return landmarks


def nyul_scale(landmarks: ArrayLike) -> NDArray[np.float64]:
    """Learn the standard scale from training scans, none of the subject that is normalised.

    Nyúl et al. 2000 (doi:10.1109/42.836373) with the deciles of Shah et al. 2011
    (doi:10.1016/j.media.2010.12.003): every scan's ends are mapped to -0.9 and 0.9, then landmarks averaged.

    Args:
        landmarks: Landmarks of the training scans, shape (scans, 11).

    Returns:
        The standard landmarks, shape (11,).

    Raises:
        BadDataError: If there are no scans.
    """
    stack = np.asarray(landmarks, dtype=np.float64)
    if stack.ndim != 2 or len(stack) == 0:
        raise BadDataError("No scans to learn the Nyúl standard scale from.")
    low, high = stack[:, :1], stack[:, -1:]
    unit = (stack - low) / (high - low)
    return np.asarray((unit * (NYUL_ENDS[1] - NYUL_ENDS[0]) + NYUL_ENDS[0]).mean(axis=0))


def match_landmarks(volume: NDArray[Any], mask: NDArray[Any], scale: NDArray[np.float64]) -> Volume:
    """Move a scan's landmarks to the standard scale, linearly between them and beyond the outer ones (Nyúl).

    Args:
        volume: Scaled intensities, shape (x, y, z).
        mask: Brain mask of the same shape.
        scale: The standard landmarks of ``nyul_scale``, shape (11,).

    Returns:
        The normalised volume, background -1.

    Raises:
        BadDataError: If volume and mask do not fit, or two landmarks of the scan coincide.
    """
    from scipy.interpolate import make_interp_spline

    # A spline of degree 1 goes on with the slope of its last segment, where numpy.interp would clip.
    line = make_interp_spline(nyul_landmarks(volume, mask), scale, k=1)
    return _put_back(line(_brain(volume, mask)), mask)


def gaussian_blur(
    volume: NDArray[Any], mask: NDArray[Any], *, spacing_mm: Sequence[float], sigma_mm: float = 1.5
) -> Volume:
    """Blur inside the brain mask: no harmonization at all, yet it fools measures of likeness.

    Args:
        volume: Scaled intensities, shape (x, y, z).
        mask: Brain mask of the same shape.
        spacing_mm: Voxel size along x, y and z, mm.
        sigma_mm: Standard deviation of the Gaussian, mm.

    Returns:
        The blurred volume, background -1; voxels outside the brain have no weight.

    Raises:
        BadDataError: If volume and mask do not fit, or the intensities are flat or not finite.
    """
    from scipy.ndimage import gaussian_filter

    inside = np.asarray(mask) != 0
    brain = np.zeros(inside.shape, dtype=np.float32)
    brain[inside] = _brain(volume, mask)
    sigma = [sigma_mm / side for side in spacing_mm]
    total, weight = (gaussian_filter(a, sigma, mode="constant") for a in (brain, inside.astype(np.float32)))
    return _put_back(total[inside] / weight[inside], mask)


def _brain(volume: NDArray[Any], mask: NDArray[Any]) -> Volume:
    """Intensities inside the mask, shape (voxels,)."""
    inside = np.asarray(mask) != 0
    if volume.shape != inside.shape:
        raise BadDataError(f"An image of shape {volume.shape} does not fit a mask of shape {inside.shape}.")
    values = np.asarray(volume[inside], dtype=np.float32)
    if values.size == 0 or not np.isfinite(values).all() or values.min() == values.max():
        raise BadDataError(
            "The brain mask of a scan is empty, or its intensities are flat or not finite: "
            "check the scan and its mask."
        )
    return values


def _put_back(values: NDArray[Any], mask: NDArray[Any]) -> Volume:
    out = np.full(np.shape(mask), BACKGROUND, dtype=np.float32)
    out[np.asarray(mask) != 0] = values
    return out
