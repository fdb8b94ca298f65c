"""What ``--skull-strip`` means: look first, strip in any case, or trust that it was done."""

from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines import DEEPBET, BrainExtractor
from bids_mmh.preprocess.steps.brain import stripped_support
from bids_mmh.preprocess.steps.extraction import BrainFound, find_brain

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
    extractor: BrainExtractor = DEEPBET,
) -> BrainFound:
    """Find the brain of a scan that stands alone.

    Args:
        image: RAS working image without the neck.
        template: template T1w.
        template_mask: its uint8 brain mask.
        work_dir: folder for temporary files.
        threads: CPU threads.
        mode: ``auto`` looks whether the scan was stripped before, ``force`` strips whatever it is, ``skip``
            takes what is not background as brain.
        extractor: program that finds the brain.

    Raises:
        BadDataError: no way led to a brain, or a scan that is to be trusted is not stripped.
    """
    if mode == "skip":
        return _trusted(image)
    return find_brain(
        image,
        template,
        template_mask,
        work_dir=work_dir,
        threads=threads,
        extractor=extractor,
        expect_stripped=mode == "auto",
    )


def _trusted(image: "SimpleITK.Image") -> BrainFound:
    support = stripped_support(image)
    if support is None:
        raise BadDataError(
            "The scan is not a brain on a blank background, though --skull-strip skip says that it was "
            "stripped: use auto or force."
        )
    return BrainFound(support, "already stripped")
