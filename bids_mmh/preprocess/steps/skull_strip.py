"""The modes of ``--skull-strip``: detect skull-stripped scans, strip every scan, or take all as stripped."""

from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines.choice import BUILTIN, BrainExtractor
from bids_mmh.preprocess.steps.brain import stripped_support
from bids_mmh.preprocess.steps.extraction import BrainMask, extract_brain

if TYPE_CHECKING:
    import SimpleITK

MODES = ("auto", "force", "skip")


def strip_skull(
    image: "SimpleITK.Image",
    template: "SimpleITK.Image",
    template_mask: "SimpleITK.Image",
    *,
    work_dir: Path,
    threads: int = 1,
    mode: str = "auto",
    extractor: BrainExtractor = BUILTIN,
) -> BrainMask:
    """Find the brain of a scan from that scan alone.

    Args:
        image: RAS working image without the neck.
        template: Template T1w.
        template_mask: Its uint8 brain mask.
        work_dir: Folder for temporary files.
        threads: Number of CPU threads.
        mode: ``auto`` detects scans that are already stripped, ``force`` strips every scan, ``skip`` takes
            the foreground as brain.
        extractor: Program for brain extraction.

    Returns:
        The brain mask.

    Raises:
        BadDataError: If no brain is found, or a scan is not stripped in mode ``skip``.
    """
    if mode == "skip":
        return _trusted(image)
    return extract_brain(
        image,
        template,
        template_mask,
        work_dir=work_dir,
        threads=threads,
        extractor=extractor,
        expect_stripped=mode == "auto",
    )


def _trusted(image: "SimpleITK.Image") -> BrainMask:
    support = stripped_support(image)
    if support is None:
        raise BadDataError(
            "The scan is not a brain on a blank background, as --skull-strip skip requires: use auto or "
            "force."
        )
    return BrainMask(support, "already stripped")
