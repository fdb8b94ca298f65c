"""How deep to invert and in how many steps: every combination tried with the frozen Stage I model (Fig. 9).

The figures need no target site: how far apart the sites still are, and how much of each scan is still there.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import torch

from bids_mmh.errors import UsageError
from bids_mmh.evaluation.metrics.anatomy import anatomy_preservation
from bids_mmh.evaluation.metrics.similarity import intensity_histogram, similarity
from bids_mmh.evaluation.metrics.site_distance import site_distances
from bids_mmh.evaluation.scans import Scan
from bids_mmh.method.harmonizer import Harmonizer

SSIM_MARGIN = 0.005  # settings whose SSIM is so close to the best preserve as much


@dataclass(frozen=True, order=True)
class Walk:
    """One setting of the walk through the noise.

    Attributes:
        depth: timestep to invert to.
        inversion_steps: T_f.
        sampling_steps: T_r.
    """

    depth: int
    inversion_steps: int
    sampling_steps: int


@dataclass(frozen=True)
class Figures:
    """What a setting makes of the scans; each sequence counts once.

    Attributes:
        wd: mean inter-site Wasserstein distance of histograms, in [0, 1].
        ssim: mean SSIM between scans of one subject at different sites; where nobody travelled, between each
            scan and its own input.
        anatomy: mean cosine of the gradients before and after.
    """

    wd: float
    ssim: float
    anatomy: float


def walks(depths: Sequence[int], inversion: Sequence[int], sampling: Sequence[int]) -> list[Walk]:
    """All combinations whose steps fit into their depth, shallow ones first.

    Raises:
        UsageError: there are none.
    """
    every = {Walk(*one) for one in product(depths, inversion, sampling)}
    possible = sorted(one for one in every if max(one.inversion_steps, one.sampling_steps) <= one.depth)
    if not possible:
        raise UsageError(
            "No combination is left to try: a walk to depth t takes at most t steps, so name greater "
            "--depths or fewer steps."
        )
    return possible


def with_walk(model: Harmonizer, walk: Walk) -> Harmonizer:
    """The same model (it shares networks and records) that walks as told."""
    tuned = copy.copy(model)
    tuned.config = replace(
        model.config,
        depth=walk.depth,
        inversion_steps=walk.inversion_steps,
        sampling_steps=walk.sampling_steps,
    )
    return tuned


def sweep(model: Harmonizer, scans: Sequence[Scan], settings: Sequence[Walk]) -> Iterator[Figures]:
    """Harmonize all scans by every setting with Stage I, and measure; one result a setting, as they come."""
    for walk in settings:
        tuned = with_walk(model, walk)
        yield measure(scans, [_unified(tuned, scan) for scan in scans])


def measure(before: Sequence[Scan], after: Sequence[Scan]) -> Figures:
    """Figures of scans as they are ``after``; both in the same order, each sequence from two sites or more.

    Raises:
        BadDataError: a scan is flat or not finite inside its mask.
    """
    sequences = sorted({scan.sequence for scan in before})
    travelled = all_travelled(before)
    wd, ssim = [], []
    for sequence in sequences:
        now = [scan for scan in after if scan.sequence == sequence]
        pairs = same_subject_pairs(now)
        if not travelled:
            pairs = [pair for pair in zip(before, after, strict=True) if pair[0].sequence == sequence]
        histograms = [intensity_histogram(scan.preproc[scan.mask]) for scan in now]
        wd.append(site_distances(histograms, [scan.site for scan in now]).inter_site)
        ssim.append(
            np.mean([similarity(a.preproc, b.preproc, a.mask & b.mask).ssim for a, b in pairs]).item()
        )
    anatomy = [anatomy_preservation(a.preproc, b.preproc, a.mask) for a, b in zip(before, after, strict=True)]
    return Figures(wd=float(np.mean(wd)), ssim=float(np.mean(ssim)), anatomy=float(np.mean(anatomy)))


def all_travelled(scans: Sequence[Scan]) -> bool:
    """Whether every sequence has subjects that were scanned at several sites."""
    sequences = {scan.sequence for scan in scans}
    return all(same_subject_pairs([scan for scan in scans if scan.sequence == one]) for one in sequences)


def same_subject_pairs(scans: Sequence[Scan]) -> list[tuple[Scan, Scan]]:
    """All pairs of scans (of one sequence) of one subject at different sites."""
    return [(a, b) for a, b in combinations(scans, 2) if a.subject == b.subject and a.site != b.site]


def best_walk(results: Sequence[tuple[Walk, Figures]]) -> Walk:
    """The setting with the lowest WD among those whose SSIM is within 0.005 of the best."""
    highest = max(figures.ssim for _, figures in results)
    close = [(walk, figures) for walk, figures in results if figures.ssim >= highest - SSIM_MARGIN]
    return min(close, key=lambda one: (one[1].wd, one[0].inversion_steps + one[0].sampling_steps, one[0]))[0]


def _unified(model: Harmonizer, scan: Scan) -> Scan:
    device = next(model.parameters()).device
    volume, mask = (torch.from_numpy(array)[None, None].to(device) for array in (scan.preproc, scan.mask))
    sequence = torch.tensor([model.sequence_index(scan.sequence)], device=device)
    return replace(scan, preproc=model(volume, mask, sequence, stage=1)[0, 0].cpu().numpy())
