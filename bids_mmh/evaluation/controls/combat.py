"""ComBat: what people do instead of harmonizing images, to the volumes that were measured in the raw ones.

Johnson et al. 2007 (doi:10.1093/biostatistics/kxj037), with covariates as Fortin et al. 2018
(doi:10.1016/j.neuroimage.2017.11.024) and fitted by the latter's neuroCombat: a site adds to each region and
scales it, age and sex act alike everywhere, and a site's effects are shrunk towards their mean over regions.
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

COMBAT = "ComBat"
FEWEST_AT_SITE = 3
"""Subjects: without the one that is corrected, two are left to tell a site's mean and spread from."""
LEAST_KNOWN = 0.5
"""Share of scans that a covariate is known of; below that it is not used."""

Numbers = NDArray[np.float64]
Covariates = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, eq=False)
class SiteEffects:
    """What sites do to regional volumes.

    Attributes:
        mean: Volumes without the effects of sites where all covariates are 0, shape (regions,).
        slopes: Change of the volumes with each covariate, shape (regions,).
        scale: Standard deviation that sites and covariates do not explain, shape (regions,).
        shift: Of each site, in units of the scale, shape (regions,).
        spread: Standard deviation of each site in the same units, shape (regions,).
    """

    mean: Numbers
    slopes: Mapping[str, Numbers]
    scale: Numbers
    shift: Mapping[str, Numbers]
    spread: Mapping[str, Numbers]

    def remove(self, volumes: Numbers, site: str, covariates: Mapping[str, float]) -> Numbers:
        """Remove the effect of a site from the volumes of one scan.

        Args:
            volumes: Shape (regions,).
            site: One of the fit.
            covariates: Name to the value for this scan; others than those of the fit change nothing.
        """
        expected = self.mean + sum(slope * covariates[name] for name, slope in self.slopes.items())
        standard = (volumes - expected) / self.scale
        return (standard - self.shift[site]) / self.spread[site] * self.scale + expected


def combat_volumes(
    volumes: ArrayLike, sites: Sequence[str], subjects: Sequence[str], covariates: Covariates
) -> tuple[Numbers | None, str]:
    """Remove the effects of sites from regional volumes, each subject's by a fit on all others.

    Args:
        volumes: Of the raw scans, shape (scans, regions).
        sites: The site of each scan.
        subjects: The subject of each scan.
        covariates: Name of what must survive, such as age, to its value for each scan. None or NaN is not
            known: the mean counts.

    Returns:
        The corrected volumes and a sentence, or None and the reason: one site, or too few subjects at one.
    """
    rows, at, who = np.asarray(volumes, dtype=np.float64), np.asarray(sites), np.asarray(subjects)
    reason = _too_little(at, who)
    if reason:
        return None, reason
    known = _identifiable(at, _known(covariates))
    corrected = np.empty_like(rows)
    for subject in np.unique(who):
        others = who != subject
        effects = fit_site_effects(
            rows[others], at[others], {name: column[others] for name, column in known.items()}
        )
        for own in np.flatnonzero(~others):
            values = {name: float(column[own]) for name, column in known.items()}
            corrected[own] = effects.remove(rows[own], str(at[own]), values)
    given = f"with {' and '.join(known)} as covariates" if known else "without covariates"
    return corrected, (
        f"ComBat was fitted {given} to the raw volumes of all subjects but the one whose volumes it then "
        "corrected."
    )


def fit_site_effects(volumes: Numbers, sites: ArrayLike, covariates: Mapping[str, Numbers]) -> SiteEffects:
    """Fit ComBat.

    Args:
        volumes: Shape (scans, regions).
        sites: The site of each scan, at least two scans a site.
        covariates: Name to the value for each scan; what sites and the others determine is left out.
    """
    import pandas as pd
    from neuroCombat import neuroCombat

    usable = _identifiable(np.asarray(sites), covariates)
    with redirect_stdout(io.StringIO()):  # it prints what it does
        found = neuroCombat(
            volumes.T,
            pd.DataFrame({"site": sites, **usable}),
            batch_col="site",
            continuous_cols=list(usable) or None,
        )["estimates"]
    names = [str(site) for site in found["batches"]]
    design = np.column_stack([*usable.values()]) if usable else np.empty((len(volumes), 0))
    slopes = np.linalg.lstsq(design, found["mod.mean"].T)[0]  # exact: it is their product
    return SiteEffects(
        mean=found["stand.mean"][:, 0],
        slopes=dict(zip(usable, slopes, strict=True)),
        scale=np.sqrt(found["var.pooled"]).ravel(),
        shift=dict(zip(names, found["gamma.star"], strict=True)),
        spread=dict(zip(names, np.sqrt(found["delta.star"]), strict=True)),
    )


def _too_little(sites: NDArray[np.str_], subjects: NDArray[np.str_]) -> str | None:
    counts = {str(site): len(set(subjects[sites == site])) for site in np.unique(sites)}
    if len(counts) < 2:
        return "There is one site only, so there is nothing to remove."
    few = [f"{site} ({count})" for site, count in counts.items() if count < FEWEST_AT_SITE]
    if few:
        return f"It takes {FEWEST_AT_SITE} subjects at each site, and there are fewer at {', '.join(few)}."
    return None


def _known(covariates: Covariates) -> dict[str, Numbers]:
    """The covariates that are known often enough, with their mean where they are not."""
    found = {}
    for name, values in covariates.items():
        column = np.asarray(values, dtype=np.float64)
        known = np.isfinite(column)
        if known.mean() >= LEAST_KNOWN:
            found[name] = np.where(known, column, column[known].mean())
    return found


def _identifiable(sites: NDArray[np.str_], covariates: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """The covariates whose effects can be told from those of the sites and of the covariates before them."""
    design = (sites[:, None] == np.unique(sites)).astype(np.float64)
    found = {}
    for name, column in covariates.items():
        wider = np.column_stack([design, column])
        if np.linalg.matrix_rank(wider) == wider.shape[1]:
            design, found[name] = wider, column
    return found
