"""One scan as the evaluation sees it, and the pairs that travelling subjects make."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bids_mmh.evaluation.controls import baselines
from bids_mmh.evaluation.controls.landmarks import landmark_style

if TYPE_CHECKING:
    from bids_mmh.method.style.tissue_style import TissueStatistics


class Visit(Protocol):
    """Anything that names a subject and a site."""

    @property
    def subject(self) -> str:
        """The subject, such as ``sub-01``."""

    @property
    def site(self) -> str:
        """Where the scan was made."""


AnyVisit = TypeVar("AnyVisit", bound=Visit)


@dataclass(frozen=True)
class ScanArrays:
    """One scan as the evaluation reads it: its arrays on the grid that is measured on.

    Attributes:
        name: File name of the preprocessed image without its extension; identifies the scan.
        subject: The subject, such as ``sub-01``.
        site: Where the scan was made.
        sequence: Its suffix, such as ``T1w``.
        preproc: Scaled intensities, background -1, shape (x, y, z).
        mask: Brain mask of the same shape.
        spacing: Voxel size along x, y and z, mm.
        harmonized: What the model made of it, like ``preproc``; None where that is not looked at.
    """

    name: str
    subject: str
    site: str
    sequence: str
    preproc: NDArray[np.float32]
    mask: NDArray[np.bool_]
    spacing: tuple[float, ...]
    harmonized: NDArray[np.float32] | None = None

    @cached_property
    def brain(self) -> baselines.Moments:
        """What the z-score standardises by."""
        return baselines.brain_moments(self.preproc, self.mask)

    @cached_property
    def stripe(self) -> baselines.Moments:
        """What WhiteStripe standardises by."""
        mode: Literal["first", "last"] = "first" if self.sequence == "T2w" else "last"
        return baselines.white_stripe_moments(self.preproc, self.mask, mode=mode)

    @cached_property
    def landmarks(self) -> NDArray[np.float64]:
        """What Nyúl's standard scale is learnt from."""
        return baselines.nyul_landmarks(self.preproc, self.mask)

    @cached_property
    def tissues(self) -> "TissueStatistics":
        """What tissue landmarks map."""
        return landmark_style(self.preproc, self.mask)


def travelling_pairs(scans: Sequence[AnyVisit], target: str) -> list[tuple[AnyVisit, AnyVisit]]:
    """Pair every scan elsewhere with the same subject's first scan at the target site.

    Args:
        scans: Scans of one sequence.
        target: The target site.

    Returns:
        Pairs (scan elsewhere, scan at the target); subjects that were not at the target have none.
    """
    at_target: dict[str, AnyVisit] = {}
    for scan in scans:
        if scan.site == target:
            at_target.setdefault(scan.subject, scan)
    return [
        (scan, at_target[scan.subject]) for scan in scans if scan.site != target and scan.subject in at_target
    ]
