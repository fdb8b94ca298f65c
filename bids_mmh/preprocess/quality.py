"""Figures that tell whether a preprocessed scan can be trusted, and the sentences that say so."""

from typing import TYPE_CHECKING, Any

import numpy as np

from bids_mmh.preprocess.brain import volume_ml
from bids_mmh.preprocess.images import to_array

if TYPE_CHECKING:
    import SimpleITK

LOW_CORRELATION = 0.35  # T1w with the template: 0.49 to 0.58 on well aligned scans of five scanners
LOW_OVERLAP = 0.9  # Dice of the brain mask with the template's: 0.954 to 0.968 on the same scans
SMALL_ML, LARGE_ML = 900.0, 2000.0
MUCH_LOST = 0.02


def correlation(image: "SimpleITK.Image", template: "SimpleITK.Image", mask: "SimpleITK.Image") -> float:
    """Normalised cross-correlation of two images on the same voxels inside a mask, -1 to 1.

    0.0 where one of them is constant or the mask is empty.
    """
    inside = to_array(mask) > 0
    pair = np.stack([to_array(image)[inside], to_array(template)[inside]]).astype(float)
    if pair.shape[1] < 2 or (pair.std(axis=1) == 0).any():
        return 0.0
    return float(np.corrcoef(pair)[0, 1])


def dice(first: "SimpleITK.Image", second: "SimpleITK.Image") -> float:
    """Dice overlap of two masks on the same voxels, 0 to 1; 0.0 where both are empty."""
    a, b = to_array(first) > 0, to_array(second) > 0
    total = int(a.sum() + b.sum())
    return 2 * float((a & b).sum()) / total if total else 0.0


def quality(
    sequence: str,
    *,
    native_mask: "SimpleITK.Image",
    mni_image: "SimpleITK.Image",
    mni_mask: "SimpleITK.Image",
    whole_mni_mask: "SimpleITK.Image",
    template: "SimpleITK.Image",
    template_mask: "SimpleITK.Image",
) -> dict[str, Any]:
    """Measure one scan after resampling.

    Args:
        sequence: BIDS suffix of the scan; a T1w is expected to look like the template.
        native_mask: brain mask on the scan's own voxels.
        mni_image: scan on the grid, 0 outside the brain.
        mni_mask: brain inside the scan's field of view, on the grid.
        whole_mni_mask: the whole brain on the grid, also where the scan does not reach.
        template: template on the grid.
        template_mask: its brain mask on the grid.

    Returns:
        ``mask_volume_ml``, ``template_correlation``, ``template_dice``, ``covered_fraction`` (part of the
        brain that the scan's field of view holds) and ``warnings``.
    """
    volume, whole = volume_ml(native_mask), int(to_array(whole_mni_mask).sum())
    covered = float(to_array(mni_mask).sum() / whole) if whole else 0.0
    overlap = dice(whole_mni_mask, template_mask)
    similarity = correlation(mni_image, template, mni_mask)
    warnings = []
    if not SMALL_ML <= volume <= LARGE_ML:
        warnings.append(f"The brain mask measures {volume:.0f} ml, unusual for an adult: look at it.")
    if overlap < LOW_OVERLAP:
        warnings.append(f"The brain overlaps the template with a Dice of only {overlap:.2f}: look at it.")
    if sequence == "T1w" and similarity < LOW_CORRELATION:
        warnings.append(
            f"The T1w correlates with the template at only {similarity:.2f}: look at the alignment."
        )
    if covered < 1 - MUCH_LOST:
        warnings.append(
            f"The scan covers {100 * covered:.0f} % of the brain: the rest is empty in MNI space."
        )
    return {
        "mask_volume_ml": round(volume, 1),
        "template_correlation": round(similarity, 4),
        "template_dice": round(overlap, 4),
        "covered_fraction": round(covered, 4),
        "warnings": warnings,
    }
