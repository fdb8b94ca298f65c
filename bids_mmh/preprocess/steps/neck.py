"""Removal of the neck, which would mislead registration and cost time."""

from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.images import to_array

if TYPE_CHECKING:
    import SimpleITK

# From the scalp's top to below the cerebellum is about 150 mm in large adult heads; a tilt takes some more.
HEAD_HEIGHT_MM = 180.0
# A slice belongs to the head when this area of it is brighter than background: 10 cm2 of scalp.
MIN_AREA_MM2 = 1000.0


def head_foreground(image: "SimpleITK.Image") -> np.ndarray:
    """Threshold an image between background and head.

    The threshold lies at 0.3 of the way from the median of the background to the median of the foreground,
    both by Otsu's method: bright fat or vessels do not raise it, a gap between noise and tissue does not
    lower it into the noise, and a background below 0 does not matter.

    Args:
        image: Working image.

    Returns:
        Boolean array, shape (x, y, z).
    """
    import SimpleITK

    data = to_array(image)
    sample = data[::2, ::2, ::2]
    clipped = np.clip(sample, *np.percentile(sample, (0.5, 99.5)))
    otsu = SimpleITK.OtsuThresholdImageFilter()
    otsu.Execute(SimpleITK.GetImageFromArray(np.ascontiguousarray(clipped)))
    bright = clipped > otsu.GetThreshold()
    background, tissue = np.median(clipped[~bright]), np.median(clipped[bright])
    return data > background + 0.3 * (tissue - background)


def crop_neck(image: "SimpleITK.Image") -> "SimpleITK.Image":
    """Remove the slices more than 180 mm below the top of the head.

    Args:
        image: Working image with its third axis pointing up.

    Returns:
        A copy on fewer slices of the same voxels; the whole image if there is no neck to remove.
    """
    area = head_foreground(image).sum(axis=(0, 1)) * np.prod(image.GetSpacing()[:2])
    slices = np.flatnonzero(area > MIN_AREA_MM2)
    top = int(slices.max()) if slices.size else image.GetSize()[2] - 1
    bottom = max(0, top - int(np.ceil(HEAD_HEIGHT_MM / image.GetSpacing()[2])))
    return image[:, :, bottom:]
