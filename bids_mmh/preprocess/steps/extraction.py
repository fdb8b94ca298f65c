"""Choice of the brain mask of a scan, and its provenance."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines.choice import BUILTIN, BrainExtractor
from bids_mmh.preprocess.steps import brain
from bids_mmh.preprocess.steps.resample import resample_mask

if TYPE_CHECKING:
    import SimpleITK


@dataclass(frozen=True)
class BrainMask:
    """A brain mask and its provenance.

    Attributes:
        mask: uint8 mask on the scan's voxels.
        engine: Name of the extractor (such as ``SynthStrip``), ``already stripped``, ``template``, ``anchor``
            or ``given`` (precomputed).
        warnings: Sentences on what the user should check.
        notes: Sentences on what was done, with nothing to check.
    """

    mask: "SimpleITK.Image"
    engine: str
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def extract_brain(
    image: "SimpleITK.Image",
    template: "SimpleITK.Image",
    template_mask: "SimpleITK.Image",
    *,
    work_dir: Path,
    threads: int = 1,
    extractor: BrainExtractor = BUILTIN,
    expect_stripped: bool = True,
) -> BrainMask:
    """Extract the brain of a scan of any contrast from that scan alone.

    The extractor is run on every scan. If the foreground is hardly larger than its mask, the scan is already
    skull-stripped, and the scan's own edge is the better mask. If the extractor fails, the template's mask is
    used, transformed by registration.

    Args:
        image: RAS working image without the neck.
        template: Template T1w.
        template_mask: Its uint8 brain mask.
        work_dir: Folder for temporary files.
        threads: Number of CPU threads.
        extractor: Program for brain extraction.
        expect_stripped: Whether to detect skull-stripped scans.

    Returns:
        The brain mask.

    Raises:
        BadDataError: If neither the extractor nor the registration succeeds.
    """
    support = brain.stripped_support(image) if expect_stripped else None
    try:
        found = extractor.extract(image, work_dir, threads)
    except BadDataError as error:
        if support is not None:
            return BrainMask(support, "already stripped", [f"{error} The scan's own edge was used as mask."])
        mask = _template_mask_on(image, template, template_mask)
        return BrainMask(mask, "template", [f"{error} The template's mask was used instead."])
    if support is not None and brain.is_stripped(support, found.mask):
        trimmed, outside_ml = brain.trim_residue(support, found.mask)
        note = "The scan was skull-stripped before: its own edge was used as brain mask."
        return BrainMask(trimmed, "already stripped", _residue_warnings(outside_ml), [note])
    return BrainMask(brain.without_cord(found.mask), found.program, list(found.warnings))


def inherit_mask(
    image: "SimpleITK.Image", anchor_mask: "SimpleITK.Image", to_anchor: "SimpleITK.Transform"
) -> BrainMask:
    """Transform the anchor's brain mask to a scan registered to it.

    Args:
        image: RAS working image of the scan.
        anchor_mask: uint8 brain mask of the anchor.
        to_anchor: Resamples the scan onto the anchor (maps points of the anchor to points of the scan).

    Returns:
        The brain mask.

    Raises:
        BadDataError: If the brain is outside the field of view of the scan.
    """
    import SimpleITK

    mask = resample_mask(anchor_mask, image, to_anchor.GetInverse())
    if brain.volume_ml(mask) == 0:
        raise BadDataError(
            "The scan shows nothing of the brain that the session's T1w shows: check the pair."
        )
    support = brain.stripped_support(image)
    if support is not None and brain.is_stripped(support, mask):
        note = "The scan was skull-stripped before: the T1w's brain mask was cut at the scan's own edge."
        return BrainMask(SimpleITK.And(mask, support), "anchor", notes=[note])
    return BrainMask(mask, "anchor")


def _residue_warnings(outside_ml: float) -> list[str]:
    if outside_ml <= brain.MAX_OUTSIDE_ML:
        return []
    return [
        f"The scan was skull-stripped before, but {outside_ml:.0f} ml of the foreground lie well outside the "
        f"brain (what was beyond {brain.RESIDUE_MM:g} mm was cut): look at the mask; --skull-strip force "
        "strips the scan again."
    ]


def _template_mask_on(
    image: "SimpleITK.Image", template: "SimpleITK.Image", template_mask: "SimpleITK.Image"
) -> "SimpleITK.Image":
    from bids_mmh.preprocess.steps.registration.settings import RegistrationSettings
    from bids_mmh.preprocess.steps.registration.template import nine_dof

    to_template, _ = nine_dof(template, template_mask, image, RegistrationSettings())
    return resample_mask(template_mask, image, to_template.GetInverse())
