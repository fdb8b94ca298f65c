"""The brain by two programs: deepbet is the more exact on T1w, this project's network knows any contrast."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines.deepbet import deepbet_mask
from bids_mmh.preprocess.engines.mask_network import network_mask
from bids_mmh.preprocess.steps.brain import FoundBrain
from bids_mmh.preprocess.steps.quality import dice

if TYPE_CHECKING:
    import SimpleITK

NETWORK, DEEPBET = "brain mask network", "deepbet"
SURE = 0.97
"""Dice of the network's masks of a scan and of its mirror image from which no second opinion is asked for."""
ALIKE = 0.93
"""Dice of the masks of both programs below which the scan is flagged: .96 to .98 on real T1w."""


def t1w_brain(image: "SimpleITK.Image", work_dir: Path, threads: int = 1) -> FoundBrain:
    """Extract the brain of a T1w head, or of a skull-stripped T1w.

    Args:
        image: RAS working image.
        work_dir: Folder for temporary files.
        threads: Number of CPU threads.

    Returns:
        deepbet's mask; the network's, flagged, where the two differ, since it is deepbet that loses brains
        (docs/preprocessing.md), and that of the other program where one fails.

    Raises:
        BadDataError: If neither finds a brain of plausible volume.
    """
    try:
        mask = deepbet_mask(image, work_dir, threads)
    except BadDataError as error:
        return _instead(error, lambda: network_mask(image, work_dir, threads)[0], NETWORK)
    try:
        other, _ = network_mask(image, work_dir, threads)
    except BadDataError as error:
        return FoundBrain(mask, DEEPBET, (_taken(error, DEEPBET),))
    overlap = dice(mask, other)
    if overlap >= ALIKE:
        return FoundBrain(mask, DEEPBET)
    said = f"Two programs find different brains (Dice {overlap:.2f}); the mask is that of {NETWORK}: look."
    return FoundBrain(other, NETWORK, (said,))


def any_brain(image: "SimpleITK.Image", work_dir: Path, threads: int = 1) -> FoundBrain:
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
        return _instead(error, lambda: deepbet_mask(image, work_dir, threads), DEEPBET)
    if agreement >= SURE:
        return FoundBrain(mask, NETWORK)
    doubt = f"The brain mask is in doubt (the scan and its mirror image give a Dice of {agreement:.2f}"
    try:
        overlap = dice(mask, deepbet_mask(image, work_dir, threads))
    except BadDataError:
        return FoundBrain(mask, NETWORK, (f"{doubt}, and deepbet finds no brain): look at the mask.",))
    said = f"{doubt}, and deepbet's mask one of {overlap:.2f}): look at the mask."
    return FoundBrain(mask, NETWORK, () if overlap >= ALIKE else (said,))


def _instead(error: BadDataError, find: "Callable[[], SimpleITK.Image]", program: str) -> FoundBrain:
    """What another program finds, flagged; the first program's error if that fails too."""
    try:
        return FoundBrain(find(), program, (_taken(error, program),))
    except BadDataError:
        raise error from None


def _taken(error: BadDataError, program: str) -> str:
    return f"{error} The mask is that of {program}: look at it."
