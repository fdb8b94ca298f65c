"""Sweep of depth and numbers of steps: every combination with the frozen Stage I model (Fig. 9).

The metrics need no target site: the distance between sites, and how much of each scan is preserved.
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
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.method.harmonizer import Harmonizer

SSIM_MARGIN = 0.005  # settings whose SSIM is so close to the best preserve as much


@dataclass(frozen=True, order=True)
class SamplingSetting:
    """One setting of inversion and sampling.

    Attributes:
        depth: timestep to invert to.
        inversion_steps: T_f.
        sampling_steps: T_r.
    """

    depth: int
    inversion_steps: int
    sampling_steps: int


@dataclass(frozen=True)
class SettingMetrics:
    """Metrics of the scans under one setting; each sequence counts once.

    Attributes:
        wd: mean inter-site Wasserstein distance of histograms, in [0, 1].
        ssim: mean SSIM between scans of one subject at different sites; without travelling
            subjects, between each scan and its own input.
        anatomy: mean cosine of the gradients before and after.
    """

    wd: float
    ssim: float
    anatomy: float


def sampling_settings(
    depths: Sequence[int], inversion: Sequence[int], sampling: Sequence[int]
) -> list[SamplingSetting]:
    """All combinations whose steps fit into their depth, shallow ones first.

    Raises:
        UsageError: there are none.
    """
    every = {SamplingSetting(*one) for one in product(depths, inversion, sampling)}
    possible = sorted(one for one in every if max(one.inversion_steps, one.sampling_steps) <= one.depth)
    if not possible:
        raise UsageError(
            "No combination is left to try: at depth t there are at most t steps, so name greater "
            "--depths or fewer steps."
        )
    return possible


def with_setting(model: Harmonizer, setting: SamplingSetting) -> Harmonizer:
    """The same model (it shares networks and records) with another depth and other numbers of steps."""
    tuned = copy.copy(model)
    tuned.config = replace(
        model.config,
        depth=setting.depth,
        inversion_steps=setting.inversion_steps,
        sampling_steps=setting.sampling_steps,
    )
    return tuned


def sweep(
    model: Harmonizer, scans: Sequence[ScanArrays], settings: Sequence[SamplingSetting]
) -> Iterator[SettingMetrics]:
    """Harmonize all scans with Stage I in every setting and measure; one result a setting, as they come."""
    for setting in settings:
        tuned = with_setting(model, setting)
        yield measure(scans, [_unified(tuned, scan) for scan in scans])


def measure(before: Sequence[ScanArrays], after: Sequence[ScanArrays]) -> SettingMetrics:
    """Metrics of scans as they are ``after``; both in the same order, each sequence from two sites or more.

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
    return SettingMetrics(wd=float(np.mean(wd)), ssim=float(np.mean(ssim)), anatomy=float(np.mean(anatomy)))


def all_travelled(scans: Sequence[ScanArrays]) -> bool:
    """Whether every sequence has subjects that were scanned at several sites."""
    sequences = {scan.sequence for scan in scans}
    return all(same_subject_pairs([scan for scan in scans if scan.sequence == one]) for one in sequences)


def same_subject_pairs(scans: Sequence[ScanArrays]) -> list[tuple[ScanArrays, ScanArrays]]:
    """All pairs of scans (of one sequence) of one subject at different sites."""
    return [(a, b) for a, b in combinations(scans, 2) if a.subject == b.subject and a.site != b.site]


def best_setting(results: Sequence[tuple[SamplingSetting, SettingMetrics]]) -> SamplingSetting:
    """The setting with the lowest WD among those whose SSIM is within 0.005 of the best."""
    highest = max(metrics.ssim for _, metrics in results)
    close = [(setting, metrics) for setting, metrics in results if metrics.ssim >= highest - SSIM_MARGIN]
    return min(close, key=lambda one: (one[1].wd, one[0].inversion_steps + one[0].sampling_steps, one[0]))[0]


def _unified(model: Harmonizer, scan: ScanArrays) -> ScanArrays:
    device = next(model.parameters()).device
    volume, mask = (torch.from_numpy(array)[None, None].to(device) for array in (scan.preproc, scan.mask))
    sequence = torch.tensor([model.sequence_index(scan.sequence)], device=device)
    return replace(scan, preproc=model(volume, mask, sequence, stage=1)[0, 0].cpu().numpy())
