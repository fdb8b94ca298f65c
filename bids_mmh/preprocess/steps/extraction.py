"""Choose how the brain of a scan is found, and say which way it was."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines import DEEPBET, BrainExtractor
from bids_mmh.preprocess.steps import brain
from bids_mmh.preprocess.steps.resample import resample_mask

if TYPE_CHECKING:
    import SimpleITK


@dataclass(frozen=True)
class BrainFound:
    """A brain mask and its origin.

    Attributes:
        mask: uint8 mask on the scan's voxels.
        engine: the extractor's name (``deepbet``), ``already stripped``, ``template``, ``anchor`` or where
            else it came from.
        warnings: plain sentences on what a person should look at.
        notes: plain sentences on what was done, with nothing to look at.
    """

    mask: "SimpleITK.Image"
    engine: str
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_brain(
    image: "SimpleITK.Image",
    template: "SimpleITK.Image",
    template_mask: "SimpleITK.Image",
    *,
    work_dir: Path,
    threads: int = 1,
    extractor: BrainExtractor = DEEPBET,
    expect_stripped: bool = True,
) -> BrainFound:
    """Find the brain of a scan of any contrast that stands alone.

    The extractor looks at every scan.  Where all that is not background is hardly more than its mask, the
    scan was stripped before, and the scan's own edge is the better mask.  Where the extractor fails, the
    template's mask serves, carried over by registration.

    Args:
        image: RAS working image without the neck.
        template: template T1w.
        template_mask: its uint8 brain mask.
        work_dir: folder for temporary files.
        threads: CPU threads.
        extractor: program that finds the brain.
        expect_stripped: whether to look for scans that were stripped before.

    Raises:
        BadDataError: no way led to a brain.
    """
    support = brain.stripped_support(image) if expect_stripped else None
    try:
        segmented = extractor.find(image, work_dir, threads)
    except BadDataError as error:
        if support is not None:
            return BrainFound(support, "already stripped", [f"{error} The scan's own edge was used as mask."])
        mask = _template_mask_on(image, template, template_mask)
        return BrainFound(mask, "template", [f"{error} The template's mask was used instead."])
    if support is not None and brain.is_stripped(support, segmented):
        trimmed, outside_ml = brain.trim_leftovers(support, segmented)
        note = "The scan was skull-stripped before: its own edge was used as brain mask."
        return BrainFound(trimmed, "already stripped", _leftovers(outside_ml), [note])
    return BrainFound(segmented, extractor.name)


def inherit_mask(
    image: "SimpleITK.Image", anchor_mask: "SimpleITK.Image", to_anchor: "SimpleITK.Transform"
) -> BrainFound:
    """Carry the anchor's brain mask over to a scan aligned with it.

    Args:
        image: RAS working image of the scan.
        anchor_mask: uint8 brain mask of the anchor.
        to_anchor: resamples the scan onto the anchor (takes the anchor's points to the scan's).

    Raises:
        BadDataError: the scan does not reach the brain.
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
        return BrainFound(SimpleITK.And(mask, support), "anchor", notes=[note])
    return BrainFound(mask, "anchor")


def _leftovers(outside_ml: float) -> list[str]:
    if outside_ml <= brain.MUCH_OUTSIDE_ML:
        return []
    return [
        f"The scan was skull-stripped before, but {outside_ml:.0f} ml of what is left lie well outside the "
        f"brain (what was beyond {brain.LEFTOVER_MM:g} mm was cut): look at the mask; --skull-strip force "
        "strips the scan again."
    ]


def _template_mask_on(
    image: "SimpleITK.Image", template: "SimpleITK.Image", template_mask: "SimpleITK.Image"
) -> "SimpleITK.Image":
    from bids_mmh.preprocess.steps.register import RegistrationSettings, nine_dof

    to_template, _ = nine_dof(template, template_mask, image, RegistrationSettings())
    return resample_mask(template_mask, image, to_template.GetInverse())
