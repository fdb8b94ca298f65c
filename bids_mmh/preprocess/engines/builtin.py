"""The brain by this project's own network, and by deepbet as well where the network is in doubt."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines.deepbet import deepbet_mask
from bids_mmh.preprocess.engines.mask_network import network_mask
from bids_mmh.preprocess.steps.brain import FoundBrain
from bids_mmh.preprocess.steps.quality import dice

if TYPE_CHECKING:
    import SimpleITK

SURE = 0.97
"""Dice of the network's masks of a scan and of its mirror image from which no second opinion is asked for."""
ALIKE = 0.92
"""Dice of the masks of both programs below which the scan is flagged."""


def builtin_brain(image: "SimpleITK.Image", work_dir: Path, threads: int = 1) -> FoundBrain:
    """Extract the brain of a head, or of a skull-stripped scan, of any contrast.

    Args:
        image: RAS working image.
        work_dir: Folder for temporary files.
        threads: Number of CPU threads.

    Returns:
        The network's mask, flagged if the network is in doubt and deepbet finds another brain; deepbet's if
        the network finds none.

    Raises:
        BadDataError: If neither finds a brain of plausible volume.
    """
    try:
        mask, agreement = network_mask(image, work_dir, threads)
    except BadDataError as error:
        with suppress(BadDataError):
            return FoundBrain(deepbet_mask(image, work_dir, threads), (f"{error} deepbet found it: look.",))
        raise
    if agreement >= SURE:
        return FoundBrain(mask)
    return FoundBrain(mask, _second_opinion(image, mask, agreement, work_dir, threads))


def _second_opinion(
    image: "SimpleITK.Image", mask: "SimpleITK.Image", agreement: float, work_dir: Path, threads: int
) -> tuple[str, ...]:
    """A warning unless deepbet finds the same brain."""
    doubt = f"The brain mask is in doubt (the scan and its mirror image give a Dice of {agreement:.2f}"
    try:
        overlap = dice(mask, deepbet_mask(image, work_dir, threads))
    except BadDataError:
        return (f"{doubt}, and deepbet finds no brain): look at the mask.",)
    return (
        () if overlap >= ALIKE else (f"{doubt}, and deepbet's mask one of {overlap:.2f}): look at the mask.",)
    )
