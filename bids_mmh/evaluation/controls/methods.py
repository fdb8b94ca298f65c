"""The controls that stand beside a harmonization in every table: what they learn, and from whom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from bids_mmh.errors import NoInputError
from bids_mmh.evaluation.controls import baselines, landmarks
from bids_mmh.evaluation.scans import ScanArrays

if TYPE_CHECKING:
    from bids_mmh.method.style.tissue_style import TissueStatistics

RAW, BLUR = "Raw", "Gaussian blur"
UNFITTED = frozenset({RAW, BLUR})
"""The controls that learn nothing from other scans."""


@dataclass(frozen=True)
class Fit:
    """What the controls learnt from training scans at the target site.

    Attributes:
        reference: The scan whose histogram is matched.
        brain: Mean moments of the brain, for the z-score.
        stripe: Mean moments of the white stripe.
        scale: Nyúl's standard landmarks.
        tissues: Mean style by tissue.
    """

    reference: ScanArrays
    brain: baselines.Moments
    stripe: baselines.Moments
    scale: NDArray[np.float64]
    tissues: "TissueStatistics"


Control = Callable[[ScanArrays, Fit], NDArray[np.float32]]

CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        RAW: lambda scan, _: scan.preproc,
        "Histogram matching": lambda scan, fit: baselines.match_histogram(
            scan.preproc, scan.mask, fit.reference.preproc, fit.reference.mask
        ),
        "z-score": lambda scan, fit: baselines.match_moments(scan.preproc, scan.mask, scan.brain, fit.brain),
        "WhiteStripe": lambda scan, fit: baselines.match_moments(
            scan.preproc, scan.mask, scan.stripe, fit.stripe
        ),
        "Nyúl": lambda scan, fit: baselines.match_landmarks(scan.preproc, scan.mask, fit.scale),
        "Tissue landmarks": lambda scan, fit: landmarks.match_tissues(
            scan.preproc, scan.mask, scan.tissues, fit.tissues
        ),
        BLUR: lambda scan, _: baselines.gaussian_blur(scan.preproc, scan.mask, spacing_mm=scan.spacing),
    }
)


def apply_controls(scan: ScanArrays, fit: Fit | None) -> dict[str, NDArray[np.float32]]:
    """Make every control's version of a scan; without a fit only those that need none.

    Args:
        scan: The scan.
        fit: From :func:`fit_controls` on other subjects than the scan's, or None where there are none.
    """
    return {
        name: control(scan, cast("Fit", fit))
        for name, control in CONTROLS.items()
        if fit is not None or name in UNFITTED
    }


def fit_controls(training: Sequence[ScanArrays], target: str | None) -> Fit:
    """Fit the controls on training scans at the target site.

    Args:
        training: Scans of one sequence, none of a subject that the controls will normalise: a control that
            saw the subject at the target site has seen the answer.
        target: The target site; None where there is none, to fit them on scans of all sites.

    Returns:
        What they learnt. The reference is the first of the scans at the target site.

    Raises:
        NoInputError: If no training scan is from the target site.
    """
    at_target = [scan for scan in training if target in (None, scan.site)]
    if not at_target:
        raise NoInputError(
            f"No training subject was scanned at {target}: the controls need another subject there."
        )
    return Fit(
        reference=at_target[0],
        brain=baselines.mean_moments([scan.brain for scan in at_target]),
        stripe=baselines.mean_moments([scan.stripe for scan in at_target]),
        scale=baselines.nyul_scale([scan.landmarks for scan in at_target]),
        tissues=landmarks.mean_landmark_style([scan.tissues for scan in at_target]),
    )
