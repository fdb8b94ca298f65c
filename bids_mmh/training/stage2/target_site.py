"""The target site: the one whose scans look most alike (paper 4.1), or the one asked for; and its style."""

import csv
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.evaluation.metrics.similarity import intensity_histogram
from bids_mmh.evaluation.metrics.site_ranking import (
    UNKNOWN,
    SiteVariability,
    choose_site,
    excluded_sites,
    rank_by_variability,
)
from bids_mmh.files import atomic_path
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.statistics import StyleRecords, StyleStatistics, mean_style
from bids_mmh.training.data.volume_cache import VolumeCache
from bids_mmh.training.processes import gather_in_order, shares

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger("bids_mmh.training")


def rank_sites(volumes: VolumeCache, min_scans: int, fabric: "Fabric") -> list[SiteVariability]:
    """All sites of a cache, those that qualify first, the least variable first.

    Args:
        volumes: of the training scans.
        min_scans: of every sequence, for a site to qualify.
        fabric: the run's; all its processes must call this, and share the reading.
    """
    mine = [(i, _histogram(volumes, i)) for i in shares(len(volumes), fabric)]
    histograms = gather_in_order(fabric, mine)
    sites = [scan.site for scan in volumes.scans]
    return rank_by_variability(histograms, sites, [scan.sequence for scan in volumes.scans], min_scans)


def require_site(sites: Collection[str], wanted: str) -> None:
    """See that training scans from ``sites`` can be fine-tuned to the wanted one (or ``auto``).

    Raises:
        UsageError: there is no such site.
        NoInputError: there is only one site.
    """
    names = sorted(set(sites) - {UNKNOWN})
    if wanted not in ("auto", *names):
        raise UsageError(
            f"No training scan is from the site '{wanted}': there are {', '.join(names) or 'none known'}."
        )
    if len(set(sites)) < 2:
        only = f"'{names[0]}'" if names else "an unknown site"
        raise NoInputError(f"All training scans are from {only}: Stage II needs another site.")


def training_target(ranking: Sequence[SiteVariability], wanted: str, min_scans: int) -> str:
    """The site that Stage II fine-tunes to: the wanted one, or for ``auto`` the first that qualifies.

    Raises:
        UsageError: there is no such site.
        NoInputError: no site has enough scans, or the target is the only site.
    """
    require_site({one.site for one in ranking}, wanted)
    site = choose_site(ranking, None if wanted == "auto" else wanted)
    if site is None:
        raise NoInputError(
            f"No site has {min_scans} training scans of every sequence, so none can be the target: "
            "name one (--target-site), or lower min_scans in the recipe."
        )
    few = ", ".join(one.site for one in excluded_sites(ranking))
    if wanted == "auto" and few:
        logger.info("Not considered as target, with fewer than %d scans: %s.", min_scans, few)
    logger.info("Target site: %s.", site)
    return site


def write_ranking(path: Path, ranking: Sequence[SiteVariability], target: str) -> None:
    """Write the table of sites that the choice was made from."""
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["site", "scans", "variability", "qualifies", "target"])
        for one in ranking:
            known = f"{one.variability:.5f}" if np.isfinite(one.variability) else "n/a"
            answers = ["yes" if answer else "no" for answer in (one.qualifies, one.site == target)]
            writer.writerow([one.site, one.scans, known, *answers])


def set_target_records(model: Harmonizer, records: StyleRecords, volumes: VolumeCache, site: str) -> None:
    """Set the records to the mean style of a site's scans, per sequence; others stay as they are.

    Args:
        model: measures the styles.
        records: to be set.
        volumes: of the training scans.
        site: name of the site.
    """

    def style_of(index: int) -> StyleStatistics:
        volume = volumes[index]
        anchor = model.anchor(volume.image, volume.mask, volume.sequence)
        return model.style(volume.image, anchor)

    for m, sequence in enumerate(volumes.config.sequences):
        chosen = [i for i, s in enumerate(volumes.scans) if (s.site, s.sequence) == (site, sequence)]
        if not chosen:
            continue
        records.assign(m, mean_style([style_of(i) for i in chosen]))  # one volume in memory at a time


def _histogram(volumes: VolumeCache, index: int) -> np.ndarray:
    volume = volumes[index]
    return intensity_histogram(volume.image[volume.mask].numpy())
