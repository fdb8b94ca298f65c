"""Sites and ages in regional grey-matter volumes, as each method leaves them and as ComBat does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_mmh.evaluation.probes.age import AgeCorrelation, AgeError, age_correlation, age_error
from bids_mmh.evaluation.probes.site_probe import SiteProbe, site_probe

Volumes = NDArray[np.float64]


@dataclass(frozen=True)
class VolumeSummary:
    """What a method's regional volumes tell.

    Attributes:
        probe: Site classification; None where it is not possible.
        age: Age regression; None where it is not possible.
        grey_matter: Correlation of the sum of the regions with age, raw and by this method, or None.
        totals: Sum of the regions of each scan, ml.
    """

    probe: SiteProbe | None
    age: AgeError | None
    grey_matter: AgeCorrelation | None
    totals: Mapping[str, float]


def summarise_volumes(
    volumes: Volumes,
    raw: Volumes,
    *,
    scans: Sequence[str],
    sites: Sequence[str],
    subjects: Sequence[str],
    ages: Sequence[float | None],
) -> VolumeSummary:
    """Look for sites and ages in the volumes of one method.

    Args:
        volumes: Shape (scans, regions), ml.
        raw: The same of the raw scans.
        scans: Names of the scans.
        sites: The site of each scan.
        subjects: The subject of each scan.
        ages: Age of the subject of each scan, years, or None.

    Returns:
        What was found; None in place of what is not possible.
    """
    totals = volumes.sum(axis=1)
    return VolumeSummary(
        probe=site_probe(volumes, sites, subjects)[0],
        age=age_error(volumes, ages, subjects)[0],
        grey_matter=age_correlation(raw.sum(axis=1), totals, ages, subjects)[0],
        totals=dict(zip(scans, totals.tolist(), strict=True)),
    )
