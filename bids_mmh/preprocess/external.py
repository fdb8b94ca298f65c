"""Files that others made of a scan: put on the scan's voxels and checked, or refused with a reason."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.images import corners, like, to_array
from bids_mmh.preprocess.steps.brain import PLAUSIBLE_ML, is_stripped, stripped_support, volume_ml
from bids_mmh.preprocess.steps.quality import dice

if TYPE_CHECKING:
    import SimpleITK

# Bias-corrected copies of 1.5 T scans correlate with them at 0.94 to 0.97, other people's scans, which lie
# elsewhere in the scanner, at below 0.1. Strong fields of 7 T leave less.
SAME_SCAN = 0.7
MOST_INSIDE = 0.98  # a mask that reaches further out of the scan belongs to another one
MOST_BLANK = 0.5  # part of a mask that may lie on background
LEAST_OVERLAP = 0.9  # Dice of a mask with the brain of a scan that was stripped before
COMPARE_MM = 4.0
SCALES = (0.6, 1.7)


@dataclass(frozen=True)
class GivenFile:
    """A file that is used in place of a step.

    Attributes:
        path: the file.
        uri: its BIDS URI, which reports and ``Sources`` name.
    """

    path: Path
    uri: str


@dataclass(frozen=True)
class GivenFiles:
    """What there is for one scan; None where a step is done here.

    Attributes:
        preproc: bias-corrected image of the scan, read in the scan's place.
        mask: brain mask in the scan's own space.
        to_template: linear transform that resamples the scan onto the template.
        to_anchor: linear transform that resamples the scan onto the session's anchor.
    """

    preproc: GivenFile | None = None
    mask: GivenFile | None = None
    to_template: GivenFile | None = None
    to_anchor: GivenFile | None = None


def on_same_voxels(first: "SimpleITK.Image", second: "SimpleITK.Image") -> bool:
    """Whether two images have the same voxels, to a hundredth of a voxel at each corner."""
    if first.GetSize() != second.GetSize():
        return False
    apart = np.linalg.norm(corners(first) - corners(second), axis=1).max()
    return bool(apart <= 0.01 * min(first.GetSpacing()))


def check_same_scan(given: "SimpleITK.Image", raw: "SimpleITK.Image") -> None:
    """See that a preprocessed image shows the same head in the same place as the raw scan.

    Args:
        given: preprocessed image, RAS working image.
        raw: raw scan, RAS working image.

    Raises:
        BadDataError: it does not.
    """
    import SimpleITK

    from bids_mmh.preprocess.steps.neck import head_foreground
    from bids_mmh.preprocess.steps.resample import field_of_view, isotropic

    coarse, unmoved = isotropic(given, COMPARE_MM), SimpleITK.Transform()
    there = SimpleITK.Resample(isotropic(raw, COMPARE_MM), coarse, unmoved, SimpleITK.sitkLinear)
    inside = field_of_view(raw, coarse, unmoved)
    seen = head_foreground(coarse)
    both = seen & (to_array(inside) > 0)
    if both.sum() < 0.5 * seen.sum():
        raise BadDataError("it lies elsewhere than the scan")
    pair = [_clipped(to_array(image)[both]) for image in (coarse, there)]
    likeness = float(np.corrcoef(pair)[0, 1]) if min(p.std() for p in pair) > 0 else 0.0
    if likeness < SAME_SCAN:
        raise BadDataError(f"it does not show the same head as the scan (correlation {likeness:.2f})")


def mask_on_scan(path: Path, image: "SimpleITK.Image") -> "SimpleITK.Image":
    """Read a brain mask that others made onto the voxels of a scan.

    Args:
        path: NIfTI file, above one half in the brain, on any voxels of the scan's world.
        image: RAS working image.

    Returns:
        uint8 mask on the voxels of ``image``.

    Raises:
        BadDataError: it is empty, no brain in size, or does not lie on the scan.
    """
    import SimpleITK

    from bids_mmh.preprocess.steps.load import load_scan
    from bids_mmh.preprocess.steps.resample import resample_mask

    loaded = load_scan(path).image
    mask = like((to_array(loaded) > 0.5).astype(np.uint8), loaded)
    total = volume_ml(mask)
    if not PLAUSIBLE_ML[0] <= total <= PLAUSIBLE_ML[1]:
        raise BadDataError(f"it measures {total:.0f} ml, which is no brain")
    if on_same_voxels(mask, image):
        found = like(to_array(mask), image)
    else:
        found = resample_mask(mask, image, SimpleITK.Transform())
    if volume_ml(found) < MOST_INSIDE * total:
        raise BadDataError(f"only {100 * volume_ml(found) / total:.0f} % of it lies inside the scan")
    data, inside = to_array(image), to_array(found) > 0
    blank = float((data[inside] <= data.min()).mean())
    if blank > MOST_BLANK:
        raise BadDataError(f"{100 * blank:.0f} % of it lies on blank background")
    _check_stripped(image, found)
    return found


def _check_stripped(image: "SimpleITK.Image", mask: "SimpleITK.Image") -> None:
    """See that a mask fits a scan that was stripped before, whose own edge tells where the brain is."""
    support = stripped_support(image)
    if support is None or not is_stripped(support, mask):
        return
    overlap = dice(support, mask)
    if overlap < LEAST_OVERLAP:
        raise BadDataError(f"it overlaps the brain of the stripped scan with a Dice of only {overlap:.2f}")


def linear_transform(path: Path) -> "SimpleITK.AffineTransform":
    """Read a linear ITK transform that others made.

    Raises:
        BadDataError: it is unreadable, not linear, a mirror, or scales as no alignment of brains does.
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
    if np.linalg.det(matrix[:3, :3]) <= 0 or scales.min() < SCALES[0] or scales.max() > SCALES[1]:
        raise BadDataError("it mirrors the brain, or stretches it beyond what an alignment can be")
    return from_matrix(matrix)


def refusal(kind: str, uri: str, error: Exception) -> str:
    """The sentence that says why a file was not used."""
    return f"The {kind} {uri} was not used, because {str(error).rstrip('.')}: the step was done here."


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(values, *np.percentile(values, (1, 99)))
