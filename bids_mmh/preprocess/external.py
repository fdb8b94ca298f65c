"""Precomputed files of other programs: resampled to the scan and checked, or rejected with a reason."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.images import corners, image_like, to_array
from bids_mmh.preprocess.steps.brain import PLAUSIBLE_ML, is_stripped, stripped_support, volume_ml
from bids_mmh.preprocess.steps.quality import dice

if TYPE_CHECKING:
    import SimpleITK

# Bias-corrected versions of 1.5 T scans correlate with the raw ones at 0.94 to 0.97, scans of other subjects,
# which lie elsewhere in the scanner, at below 0.1. The strong bias fields of 7 T lower the correlation.
MIN_CORRELATION = 0.7
MIN_INSIDE = 0.98  # fraction of a mask; one that reaches further out of the scan belongs to another scan
MAX_BACKGROUND = 0.5  # fraction of a mask
MIN_DICE = 0.9  # with the brain of a scan that was stripped before
COMPARE_MM = 4.0
SCALE_LIMITS = (0.6, 1.7)


@dataclass(frozen=True)
class PrecomputedFile:
    """A file that replaces a step.

    Attributes:
        path: The file.
        uri: Its BIDS URI, for reports and ``Sources``.
    """

    path: Path
    uri: str


@dataclass(frozen=True)
class PrecomputedFiles:
    """The precomputed files of one scan; None for a step that is run.

    Attributes:
        preproc: Bias-corrected image, read instead of the raw scan.
        mask: Brain mask in the scan's own space.
        to_template: Linear transform that resamples the scan onto the template.
        to_anchor: Linear transform that resamples the scan onto the session's anchor.
    """

    preproc: PrecomputedFile | None = None
    mask: PrecomputedFile | None = None
    to_template: PrecomputedFile | None = None
    to_anchor: PrecomputedFile | None = None


def on_same_voxels(first: "SimpleITK.Image", second: "SimpleITK.Image") -> bool:
    """Tell whether two images have the same voxels, to a hundredth of a voxel at each corner.

    Args:
        first: An image.
        second: Another image.

    Returns:
        Whether shapes and corner positions agree.
    """
    if first.GetSize() != second.GetSize():
        return False
    apart = np.linalg.norm(corners(first) - corners(second), axis=1).max()
    return bool(apart <= 0.01 * min(first.GetSpacing()))


def check_same_scan(preprocessed: "SimpleITK.Image", raw: "SimpleITK.Image") -> None:
    """Check that a preprocessed image shows the same head in the same place as the raw scan.

    Args:
        preprocessed: Preprocessed image, RAS working image.
        raw: Raw scan, RAS working image.

    Raises:
        BadDataError: If the fields of view hardly overlap, or the intensities do not correlate.
    """
    import SimpleITK

    from bids_mmh.preprocess.steps.neck import head_foreground
    from bids_mmh.preprocess.steps.resample import field_of_view, isotropic

    coarse, identity = isotropic(preprocessed, COMPARE_MM), SimpleITK.Transform()
    resampled = SimpleITK.Resample(isotropic(raw, COMPARE_MM), coarse, identity, SimpleITK.sitkLinear)
    inside = field_of_view(raw, coarse, identity)
    head = head_foreground(coarse)
    both = head & (to_array(inside) > 0)
    if both.sum() < 0.5 * head.sum():
        raise BadDataError("it lies elsewhere than the scan")
    pair = [_clipped(to_array(image)[both]) for image in (coarse, resampled)]
    correlation = float(np.corrcoef(pair)[0, 1]) if min(p.std() for p in pair) > 0 else 0.0
    if correlation < MIN_CORRELATION:
        raise BadDataError(f"it does not show the same head as the scan (correlation {correlation:.2f})")


def mask_on_scan(path: Path, image: "SimpleITK.Image") -> "SimpleITK.Image":
    """Read a precomputed brain mask onto the voxels of a scan.

    Args:
        path: NIfTI file, above one half in the brain, on any voxels in the world space of the scan.
        image: RAS working image.

    Returns:
        uint8 mask on the voxels of ``image``.

    Raises:
        BadDataError: If the mask has not the volume of a brain, or does not lie on the scan.
    """
    import SimpleITK

    from bids_mmh.preprocess.steps.load import load_scan
    from bids_mmh.preprocess.steps.resample import resample_mask

    loaded = load_scan(path).image
    mask = image_like((to_array(loaded) > 0.5).astype(np.uint8), loaded)
    total = volume_ml(mask)
    if not PLAUSIBLE_ML[0] <= total <= PLAUSIBLE_ML[1]:
        raise BadDataError(f"it measures {total:.0f} ml, which is no brain")
    if on_same_voxels(mask, image):
        found = image_like(to_array(mask), image)
    else:
        found = resample_mask(mask, image, SimpleITK.Transform())
    if volume_ml(found) < MIN_INSIDE * total:
        raise BadDataError(f"only {100 * volume_ml(found) / total:.0f} % of it lies inside the scan")
    data, inside = to_array(image), to_array(found) > 0
    background = float((data[inside] <= data.min()).mean())
    if background > MAX_BACKGROUND:
        raise BadDataError(f"{100 * background:.0f} % of it lies on blank background")
    _check_stripped(image, found)
    return found


def _check_stripped(image: "SimpleITK.Image", mask: "SimpleITK.Image") -> None:
    """Check that a mask fits a skull-stripped scan, whose own edge shows where the brain is."""
    support = stripped_support(image)
    if support is None or not is_stripped(support, mask):
        return
    overlap = dice(support, mask)
    if overlap < MIN_DICE:
        raise BadDataError(f"it overlaps the brain of the stripped scan with a Dice of only {overlap:.2f}")


def linear_transform(path: Path) -> "SimpleITK.AffineTransform":
    """Read a precomputed linear ITK transform.

    Args:
        path: ITK transform file.

    Returns:
        The transform as a single affine one.

    Raises:
        BadDataError: If it is unreadable, not linear, a reflection, or scales beyond what brains differ by.
    """
    import SimpleITK

    from bids_mmh.preprocess.transforms import from_matrix, to_matrix

    try:
        transform = SimpleITK.ReadTransform(str(path))
    except RuntimeError as error:
        raise BadDataError("it is no transform that ITK reads") from error
    if not transform.IsLinear():
        raise BadDataError("it is not linear")
    matrix = to_matrix(transform)
    scales = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    if np.linalg.det(matrix[:3, :3]) <= 0 or scales.min() < SCALE_LIMITS[0] or scales.max() > SCALE_LIMITS[1]:
        raise BadDataError("it mirrors the brain, or stretches it beyond what an alignment can be")
    return from_matrix(matrix)


def refusal(kind: str, uri: str, error: Exception) -> str:
    """Explain why a precomputed file was not used.

    Args:
        kind: What the file holds, such as ``brain mask``.
        uri: Its BIDS URI.
        error: The reason.

    Returns:
        A sentence for the warnings of the scan.

    Examples:
        >>> refusal("mask", "bids:other:sub-1_mask.nii.gz", ValueError("it is empty."))
        'The mask bids:other:sub-1_mask.nii.gz was not used, because it is empty: the step was done here.'
    """
    return f"The {kind} {uri} was not used, because {str(error).rstrip('.')}: the step was done here."


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(values, *np.percentile(values, (1, 99)))
