"""Silence a background of noise as bright as tissue, as MP2RAGE images have it, before anything looks at it.

An MP2RAGE image is the ratio of two images: where there is no signal it is the ratio of two noises, anything
between its least and its largest value.
"""

from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.images import like, to_array

if TYPE_CHECKING:
    import SimpleITK

# Deviation in the upper corners beside that of the image: 0.01 to 0.2 in magnitude images, here about 1.
NOISY = 0.5
WINDOW_MM = 5.0
CLOSING_MM = 10.0  # the skull gives no signal either: its noise parts brain and scalp

NOTE = (
    "The background is noise as bright as tissue, as in an MP2RAGE image: it was silenced to find and align "
    "the brain."
)


def silence_background(image: "SimpleITK.Image") -> "tuple[SimpleITK.Image, bool]":
    """Set what lies outside the head to the head's darkest value where the background is bright noise.

    Args:
        image: RAS working image.

    Returns:
        The image, and whether it was changed.
    """
    data = to_array(image)
    corners = _upper_corners(data)
    if corners.std() < NOISY * data[::2, ::2, ::2].std():
        return image, False
    head = _smooth_part(data, np.asarray(image.GetSpacing()), corners.std())
    dark = np.percentile(data[head][::10], 0.5) if head.any() else data.min()
    return like(np.where(head, data, np.float32(dark)), image), True


def _upper_corners(data: np.ndarray) -> np.ndarray:
    x, y, z = (max(2, n // 12) for n in data.shape)
    return np.concatenate(
        [data[i, j, -z:].ravel() for i in (slice(x), slice(-x, None)) for j in (slice(y), slice(-y, None))]
    )


def _smooth_part(data: np.ndarray, spacing: np.ndarray, noise: float) -> np.ndarray:
    """The largest part, closed and filled, whose values vary less than the noise does from voxel to voxel."""
    from scipy import ndimage

    window = np.maximum(3, np.round(WINDOW_MM / spacing)).astype(int).tolist()
    mean = ndimage.uniform_filter(data, window)
    variance = ndimage.uniform_filter((data - mean) ** 2, window)
    labels, count = ndimage.label(ndimage.binary_opening(variance < (0.6 * noise) ** 2))
    if count == 0:
        return np.zeros(data.shape, dtype=bool)
    head = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    inside = ndimage.distance_transform_edt(~head, sampling=spacing) <= CLOSING_MM
    # The window takes its own width from the edge: it is given back.
    closed = ndimage.distance_transform_edt(inside, sampling=spacing) > CLOSING_MM - WINDOW_MM
    return np.asarray(ndimage.binary_fill_holes(closed))
