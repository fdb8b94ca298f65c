"""Quality metrics of a preprocessed scan, and warnings if they are out of range."""

from typing import TYPE_CHECKING, Any

import numpy as np

from bids_mmh.preprocess.images import to_array
from bids_mmh.preprocess.steps.brain import volume_ml
from bids_mmh.preprocess.steps.resample import GridTemplate

if TYPE_CHECKING:
    import SimpleITK

LOW_CORRELATION = 0.35  # T1w with the template: 0.49 to 0.61 on well aligned scans of six scanners
# A T2w named T1w, and the reverse: -0.42 to 0.08 for T2w scans, 0.49 to 0.72 for T1w scans.
OTHER_THAN_T1W, OTHER_THAN_T2W = 0.2, 0.3
LOW_OVERLAP = 0.9  # Dice of the brain mask with the template's: 0.941 to 0.969 on the same scans
SMALL_ML, LARGE_ML = 900.0, 2000.0
MAX_UNCOVERED = 0.02
# Volume of the mask this far outside the template's mask, or missing this far inside it: up to 0.6 ml.
DEVIATION_MM, MAX_DEVIATION_ML = 8.0, 3.0
# With the template: 0.03 to 0.05 and 0.05 to 0.25 on the same scans; the distinctness is below -0.1 after a
# rotation by 10 degrees or a shift by 15 mm.
LOW_TEMPLATE_INFORMATION, LOW_TEMPLATE_DISTINCTNESS = 0.015, 0.0
# T2w with the T1w: above 0.08 and 0.65; another subject's T2w at its best alignment below 0.02 and 0.05.
LOW_SESSION_INFORMATION, LOW_SESSION_DISTINCTNESS = 0.03, 0.3
# Scan relative to the template, along three axes: 0.78 to 1.02.
SCALE_LIMITS = (0.65, 1.35)
LARGE_ROTATION_DEG = 60.0


def template_alignment(
    scan: "SimpleITK.Image",
    to_mni: "SimpleITK.Transform",
    template: "SimpleITK.Image",
    template_mask: "SimpleITK.Image",
) -> dict[str, Any]:
    """Measure how well a scan of any contrast is registered to the template.

    Args:
        scan: Bias-corrected scan with or without its head.
        to_mni: Resamples it onto the template.
        template: Template T1w.
        template_mask: Its brain mask.

    Returns:
        ``template_information`` and ``template_distinctness`` (see
        :mod:`bids_mmh.preprocess.steps.agreement`), ``affine_scales`` (scan relative to template),
        ``affine_turn_deg`` (rotation) and ``warnings``.
    """
    import SimpleITK

    from bids_mmh.preprocess.steps.agreement import agreement, sample

    identity = SimpleITK.Transform()
    inside = sample(SimpleITK.Cast(template_mask > 0, SimpleITK.sitkFloat32), identity) >= 0.5
    # An image of zeros outside the scan's field of view would look like an edge.
    inside &= _field_of_view(scan, to_mni)
    found = agreement(sample(template, identity), sample(scan, to_mni), inside, mirror=False)
    scales, rotation = affine_parts(to_mni)
    warnings = []
    if found.information < LOW_TEMPLATE_INFORMATION or found.distinctness < LOW_TEMPLATE_DISTINCTNESS:
        warnings.append(
            f"The scan does not lie well on the template (distinctness {found.distinctness:.2f}, mutual "
            f"information {found.information:.3f}): look at the alignment."
        )
    if min(scales) < SCALE_LIMITS[0] or max(scales) > SCALE_LIMITS[1] or rotation > LARGE_ROTATION_DEG:
        warnings.append(
            f"The alignment with the template scales by {min(scales):.2f} to {max(scales):.2f} and turns by "
            f"{rotation:.0f} degrees, which is unusual: look at it."
        )
    return {
        "template_information": round(found.information, 4),
        "template_distinctness": round(found.distinctness, 3),
        "affine_scales": [round(scale, 3) for scale in scales],
        "affine_turn_deg": round(rotation, 1),
        "warnings": warnings,
    }


def session_alignment(
    anchor: "SimpleITK.Image",
    anchor_mask: "SimpleITK.Image",
    anchor_to_mni: "SimpleITK.Transform",
    scan: "SimpleITK.Image",
    to_mni: "SimpleITK.Transform",
) -> dict[str, Any]:
    """Measure how well a scan is registered to the anchor of its session, both in template space.

    Args:
        anchor: Anchor, whole head.
        anchor_mask: Its uint8 brain mask.
        anchor_to_mni: Resamples it onto the template.
        scan: The other scan, whole head.
        to_mni: Resamples that one onto the template.

    Returns:
        ``anchor_information``, ``anchor_distinctness`` and ``warnings``.
    """
    import SimpleITK
    from scipy import ndimage

    from bids_mmh.preprocess.steps.agreement import MIRROR, agreement, sample

    brain = sample(SimpleITK.Cast(anchor_mask > 0, SimpleITK.sitkFloat32), anchor_to_mni) >= 0.5
    # Well inside the brain: the skull and the cut surface of a mask agree even where the brains do not.
    inside = (
        ndimage.binary_erosion(brain, iterations=2)
        & _field_of_view(scan, to_mni)
        & _field_of_view(anchor, anchor_to_mni)
    )
    found = agreement(sample(anchor, anchor_to_mni), sample(scan, to_mni), inside, mirror=True)
    warnings = []
    if found.best_perturbation == MIRROR and found.distinctness < 0:
        warnings.append("The scan agrees better with the session's T1w if left and right are swapped: check.")
    elif found.information < LOW_SESSION_INFORMATION or found.distinctness < LOW_SESSION_DISTINCTNESS:
        warnings.append(
            "The scan does not lie well on the session's anchor, or is another subject's (distinctness "
            f"{found.distinctness:.2f}, mutual information {found.information:.3f}): look at the pair."
        )
    return {
        "anchor_information": round(found.information, 4),
        "anchor_distinctness": round(found.distinctness, 3),
        "warnings": warnings,
    }


def _contrast(sequence: str, similarity: float) -> str | None:
    """A warning if the correlation with the template, a T1w, contradicts the suffix of a scan."""
    if sequence == "T1w" and similarity < OTHER_THAN_T1W:
        return (
            f"The scan correlates with the template at only {similarity:.2f}, as no T1w does: it may be of "
            "another sequence, such as a T2w named T1w, or badly aligned. Look at it."
        )
    if sequence == "T1w" and similarity < LOW_CORRELATION:
        return f"The T1w correlates with the template at only {similarity:.2f}: look at the alignment."
    if sequence == "T2w" and similarity > OTHER_THAN_T2W:
        return (
            f"The scan correlates with the template at {similarity:.2f}, as no T2w does: it may be a T1w "
            "named T2w. Look at it."
        )
    return None


def affine_parts(transform: "SimpleITK.Transform") -> tuple[list[float], float]:
    """Decompose a linear transform.

    Args:
        transform: A linear transform.

    Returns:
        Its three scales in descending order, and the angle of its rotation in degrees.

    Examples:
        >>> from bids_mmh.preprocess.transforms import from_matrix
        >>> scales, angle = affine_parts(from_matrix(np.diag([1.0, 2.0, 0.5, 1.0])))
        >>> [round(scale, 6) for scale in scales], round(angle, 3)
        ([2.0, 1.0, 0.5], 0.0)
    """
    from bids_mmh.preprocess.transforms import to_matrix

    u, scales, vt = np.linalg.svd(to_matrix(transform)[:3, :3])
    cosine = (np.trace(u @ vt) - 1) / 2
    return [float(scale) for scale in scales], float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))


def _field_of_view(scan: "SimpleITK.Image", to_mni: "SimpleITK.Transform") -> np.ndarray:
    """Where the scan's field of view lies on the grid of :mod:`bids_mmh.preprocess.steps.agreement`."""
    from bids_mmh.preprocess.steps.agreement import around_grid
    from bids_mmh.preprocess.steps.resample import field_of_view

    return to_array(field_of_view(scan, around_grid(), to_mni)) > 0


def correlation(image: "SimpleITK.Image", template: "SimpleITK.Image", mask: "SimpleITK.Image") -> float:
    """Compute the normalised cross-correlation of two images inside a mask.

    Args:
        image: An image.
        template: Another image on the same voxels.
        mask: Mask on the same voxels.

    Returns:
        Pearson's correlation, -1 to 1; 0.0 if an image is constant or the mask is empty.
    """
    inside = to_array(mask) > 0
    pair = np.stack([to_array(image)[inside], to_array(template)[inside]]).astype(float)
    if pair.shape[1] < 2 or (pair.std(axis=1) == 0).any():
        return 0.0
    return float(np.corrcoef(pair)[0, 1])


def dice(first: "SimpleITK.Image", second: "SimpleITK.Image") -> float:
    """Compute the Dice overlap of two masks.

    Args:
        first: A mask.
        second: Another mask on the same voxels.

    Returns:
        2 |A ∩ B| / (|A| + |B|), 0 to 1; 0.0 if both are empty.
    """
    a, b = to_array(first) > 0, to_array(second) > 0
    total = int(a.sum() + b.sum())
    return 2 * float((a & b).sum()) / total if total else 0.0


def mask_deviation_ml(mask: "SimpleITK.Image", template: GridTemplate) -> tuple[float, float]:
    """Measure how much of a mask lies far outside the template's mask, and how much is missing far inside it.

    Eyes and neck in a mask, or a missing lobe, are small in an overlap but not here.

    Args:
        mask: Brain mask.
        template: Template on the same voxels.

    Returns:
        Volume more than 8 mm outside, and volume missing more than 8 mm inside, both in ml.
    """
    if not to_array(template.brain_mask).any():
        return 0.0, 0.0
    brain, depth = to_array(mask) > 0, template.depth_mm
    ml = float(np.prod(mask.GetSpacing()) / 1000)
    far, deep = depth > DEVIATION_MM, depth < -DEVIATION_MM
    return float((brain & far).sum()) * ml, float((~brain & deep).sum()) * ml


def quality_metrics(
    sequence: str,
    *,
    native_mask: "SimpleITK.Image",
    mni_image: "SimpleITK.Image",
    mni_mask: "SimpleITK.Image",
    whole_mni_mask: "SimpleITK.Image",
    field_of_view: "SimpleITK.Image",
    template: GridTemplate,
) -> dict[str, Any]:
    """Measure the quality of one scan after resampling.

    Args:
        sequence: BIDS suffix of the scan; a T1w is expected to correlate with the template, a T2w is not.
        native_mask: Brain mask on the scan's own voxels.
        mni_image: Scan on the grid, 0 outside the brain.
        mni_mask: Brain inside the scan's field of view, on the grid.
        whole_mni_mask: The whole brain on the grid, also outside the scan's field of view.
        field_of_view: The scan's field of view on the grid.
        template: Template on the grid.

    Returns:
        ``mask_volume_ml``, ``template_correlation``, ``template_dice``, ``mask_beyond_ml`` and
        ``mask_lacks_ml`` (see :func:`mask_deviation_ml`), ``covered_fraction`` (part of the template's brain
        inside the scan's field of view: the brain mask of a truncated scan is truncated as well) and
        ``warnings``.
    """
    volume, brain = volume_ml(native_mask), to_array(template.brain_mask) > 0
    covered = float((to_array(field_of_view)[brain] > 0).mean()) if brain.any() else 0.0
    overlap = dice(whole_mni_mask, template.brain_mask)
    similarity = correlation(mni_image, template.t1w, mni_mask)
    stray, lacking = mask_deviation_ml(whole_mni_mask, template)
    warnings = []
    if max(stray, lacking) > MAX_DEVIATION_ML:
        warnings.append(
            f"The brain mask reaches {stray:.1f} ml beyond the template's and lacks {lacking:.1f} ml well "
            "inside it: look at it."
        )
    if not SMALL_ML <= volume <= LARGE_ML:
        warnings.append(f"The brain mask measures {volume:.0f} ml, unusual for an adult: look at it.")
    if overlap < LOW_OVERLAP:
        warnings.append(f"The brain overlaps the template with a Dice of only {overlap:.2f}: look at it.")
    if sentence := _contrast(sequence, similarity):
        warnings.append(sentence)
    if covered < 1 - MAX_UNCOVERED:
        warnings.append(
            f"The scan covers {100 * covered:.0f} % of the brain: the rest is empty in MNI space."
        )
    return {
        "mask_volume_ml": round(volume, 1),
        "template_correlation": round(similarity, 4),
        "template_dice": round(overlap, 4),
        "mask_beyond_ml": round(stray, 2),
        "mask_lacks_ml": round(lacking, 2),
        "covered_fraction": round(covered, 4),
        "warnings": warnings,
    }
