"""Scans that do not look like the others of their site, or whose anatomy suffered: whom to look at."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

LIMIT = 5.0
"""Of the robust z: among 4,000 normal scans none lies beyond."""
FEWEST_SCANS = 8
"""Below that the median and the spread of a site say little, and those of all sites are taken."""
ANATOMY_LOW, ANATOMY_LOST = 0.9, 0.8  # a Gaussian blur of 1.5 mm leaves about 0.92
EXCLUDE, LOOK, REPEAT = "exclude", "look", "run again"

# What is compared, in words, and the smallest spread that counts: sites that were brought to one histogram
# differ by thousandths, and a scan that differs by as little is no outlier.
_STATISTICS: Mapping[str, tuple[str, float]] = {
    "mean": ("mean intensity", 0.02),
    "std": ("standard deviation of the intensity", 0.01),
    "p01": ("1st percentile of the intensity", 0.02),
    "p99": ("99th percentile of the intensity", 0.02),
}
_SIZE_SPREAD = 0.02  # of the median
_ANATOMY_SPREAD = 0.003
_MAD_TO_SD = 1.4826


class DescribedScan(Protocol):
    """What is known of a scan from its sidecar."""

    @property
    def site_label(self) -> str:
        """Its site."""

    @property
    def before(self) -> Mapping[str, float] | None:
        """Statistics of the preprocessed scan by name; None where unknown."""

    @property
    def after(self) -> Mapping[str, float] | None:
        """The same after harmonization."""

    @property
    def anatomy_preservation(self) -> float | None:
        """Cosine of the gradients before and after."""

    @property
    def warnings(self) -> Sequence[str]:
        """Quality warnings of the preprocessing."""

    @property
    def problem(self) -> str | None:
        """Why the sidecar could not be used."""


@dataclass(frozen=True)
class Verdict:
    """Why a scan stands out.

    Attributes:
        suggestion: ``exclude``: two things or more speak against it, or its anatomy is lost; ``look``: one
            thing does; ``run again``: its sidecar cannot be used.
        reasons: Sentences.
    """

    suggestion: str
    reasons: tuple[str, ...]


def robust_z(values: ArrayLike, smallest_spread: float) -> NDArray[np.float64]:
    """Distances to the median in units of the spread, which is estimated from the median absolute deviation.

    Args:
        values: One a scan; NaN where unknown.
        smallest_spread: What the spread is at least.

    Returns:
        The same shape; NaN stays NaN.
    """
    data = np.asarray(values, dtype=np.float64)
    middle = np.nanmedian(data)
    spread = _MAD_TO_SD * np.nanmedian(np.abs(data - middle))
    return np.asarray((data - middle) / max(float(spread), smallest_spread))


def find_outliers(scans: Sequence[DescribedScan]) -> dict[int, Verdict]:
    """Find the scans that stand out.

    Args:
        scans: Of one sequence and space.

    Returns:
        Place in ``scans`` to verdict, for those that stand out.
    """
    found: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for place, scan in enumerate(scans):
        if scan.problem:
            found[place]["problem"].append(scan.problem)
        if scan.warnings:
            found[place]["brain"].extend(scan.warnings)
    _intensities(scans, found)
    _brain_sizes(scans, found)
    _anatomy(scans, found)
    return {place: _verdict(scans[place], kinds) for place, kinds in sorted(found.items())}


def _verdict(scan: DescribedScan, kinds: Mapping[str, Sequence[str]]) -> Verdict:
    anatomy = scan.anatomy_preservation
    if scan.problem:
        suggestion = REPEAT
    elif len(kinds) > 1 or (anatomy is not None and anatomy < ANATOMY_LOST):
        suggestion = EXCLUDE
    else:
        suggestion = LOOK
    return Verdict(suggestion, tuple(reason for reasons in kinds.values() for reason in reasons))


def _intensities(scans: Sequence[DescribedScan], found: dict[int, dict[str, list[str]]]) -> None:
    """For each scan the statistic that is furthest out, before and after harmonization."""
    for when in ("before", "after"):
        worst: dict[int, tuple[float, str]] = {}
        for name, (words, spread) in _STATISTICS.items():
            values = [(getattr(scan, when) or {}).get(name, np.nan) for scan in scans]
            for place, z, middle, whose in _beyond(scans, values, spread):
                if abs(z) > abs(worst.get(place, (0.0, ""))[0]):
                    text = (
                        f"{words.capitalize()} {when} harmonization is {values[place]:.2f}, that of {whose} "
                        f"{middle:.2f} (robust z {z:.1f})."
                    )
                    worst[place] = z, text
        for place, (_, text) in worst.items():
            found[place]["intensities"].append(text)


def _brain_sizes(scans: Sequence[DescribedScan], found: dict[int, dict[str, list[str]]]) -> None:
    sizes = np.array([(scan.before or {}).get("voxels", np.nan) for scan in scans], dtype=np.float64)
    if not np.isfinite(sizes).any():
        return
    # Brains are all in template space: differences in size are gone, and sites hardly differ.
    typical = float(np.nanmedian(sizes))
    for place, z, middle, _ in _beyond(scans, sizes, _SIZE_SPREAD * typical, by_site=False):
        change = sizes[place] / middle - 1
        found[place]["brain"].append(
            f"The brain mask differs by {change:+.0%} from the usual size in template space "
            f"(robust z {z:.1f}): look at the brain extraction and the registration."
        )


def _anatomy(scans: Sequence[DescribedScan], found: dict[int, dict[str, list[str]]]) -> None:
    values = np.array(
        [np.nan if scan.anatomy_preservation is None else scan.anatomy_preservation for scan in scans]
    )
    for place in np.flatnonzero(values < ANATOMY_LOW):
        found[int(place)]["anatomy"].append(
            f"Harmonization changed edges: anatomy preservation is {values[place]:.2f}, where even a blur of "
            "1.5 mm leaves 0.92."
        )
    for place, z, middle, _ in _beyond(scans, values, _ANATOMY_SPREAD, by_site=False):
        if z < 0 and values[place] >= ANATOMY_LOW:
            found[place]["anatomy"].append(
                f"Anatomy preservation is {values[place]:.3f}, that of the others {middle:.3f} "
                f"(robust z {z:.1f})."
            )


def _beyond(
    scans: Sequence[DescribedScan], values: ArrayLike, spread: float, *, by_site: bool = True
) -> list[tuple[int, float, float, str]]:
    """Places, robust z, median and owner of it, for what lies beyond the limit within its group."""
    data = np.asarray(values, dtype=np.float64)
    sites = np.array([scan.site_label for scan in scans])
    known = np.isfinite(data)
    beyond = []
    for site in np.unique(sites) if by_site else [""]:
        own = (sites == site) if by_site else np.ones(len(data), dtype=bool)
        alone = (own & known).sum() < FEWEST_SCANS
        group = known if alone else own & known
        if group.sum() < FEWEST_SCANS:
            continue
        z = np.full(len(data), np.nan)
        z[group] = robust_z(data[group], spread)
        middle = float(np.median(data[group]))
        whose = "the study" if alone or not by_site else f"site {site}"
        places = np.flatnonzero(own & (np.abs(np.nan_to_num(z)) > LIMIT))
        beyond += [(int(place), float(z[place]), middle, whose) for place in places]
    return beyond
