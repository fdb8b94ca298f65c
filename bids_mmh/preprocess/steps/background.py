"""Suppression of a background of noise as bright as tissue, as in MP2RAGE images, for the following steps.

An MP2RAGE image is the ratio of two images: where there is no signal it is a ratio of noise, anything
between its minimum and its maximum.
"""

from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.images import image_like, to_array

if TYPE_CHECKING:
    import SimpleITK

# Noise in the upper corners relative to the standard deviation of the whole image: 0.01 to 0.2 in
# magnitude images, 1 in MP2RAGE images.
NOISY = 0.75
WINDOW_MM = 5.0
CLOSING_MM = 10.0  # the skull gives no signal either: its noise separates brain and scalp

NOTE = (
    "The background is noise as bright as tissue, as in an MP2RAGE image: it was suppressed to find and "
    "align the brain."
)


def suppress_background(image: "SimpleITK.Image") -> "tuple[SimpleITK.Image, bool]":
    """Set the voxels outside the head to the head's darkest value if the background is bright noise.

    Args:
        image: RAS working image.

    Returns:
        The image, and whether it was changed.
    """
    data = to_array(image)
    noise = _noise(data)
    if noise < NOISY * data[::2, ::2, ::2].std():
        return image, False
    head = _smooth_part(data, np.asarray(image.GetSpacing()), noise)
    dark = np.percentile(data[head][::10], 0.5) if head.any() else data.min()
    return image_like(np.where(head, data, np.float32(dark)), image), True


def _noise(data: np.ndarray) -> float:
    """Standard deviation of the noise in the quietest upper corner; tissue that reaches one is smooth."""
    x, y, z = (max(3, n // 12) for n in data.shape)
    corners = [data[i, j, -z:] for i in (slice(x), slice(-x, None)) for j in (slice(y), slice(-y, None))]
    return float(min(np.diff(corner, axis=0).std() for corner in corners) / np.sqrt(2))


def _smooth_part(data: np.ndarray, spacing: np.ndarray, noise: float) -> np.ndarray:
    """The largest component, closed and filled, that varies less from voxel to voxel than the noise does."""
    from scipy import ndimage

    window = np.maximum(3, np.round(WINDOW_MM / spacing)).astype(int).tolist()
    mean = ndimage.uniform_filter(data, window)
    variance = ndimage.uniform_filter((data - mean) ** 2, window)
    labels, count = ndimage.label(ndimage.binary_opening(variance < (0.6 * noise) ** 2))
    if count == 0:
        return np.zeros(data.shape, dtype=bool)
    head = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    inside = ndimage.distance_transform_edt(~head, sampling=spacing) <= CLOSING_MM
    # The window erodes the edge by its own width, which is restored.
    closed = ndimage.distance_transform_edt(inside, sampling=spacing) > CLOSING_MM - WINDOW_MM
    return np.asarray(ndimage.binary_fill_holes(closed))
