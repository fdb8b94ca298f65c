"""Pairs of source and target scans that Stage II trains on, and batches that guard the aggregator."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import NoInputError
from bids_mmh.training.data.scan_order import Order
from bids_mmh.training.seeds import draw_seed
from bids_mmh.training.stage2.stage1_cache import Stage1Cache, UnifiedScan
from bids_mmh.training.stage2.target_site import UNKNOWN

SCANS_PER_SITE = 3  # of a guard batch: enough for partners, few enough for several sites


@dataclass(frozen=True)
class GuardBatch:
    """Real scans of one sequence from several sites, for the guard against a collapsed aggregator.

    Attributes:
        image: (N, V, Z, D) frozen embeddings of the scans.
        aligned: the same of their Stage I outputs.
        places: (N, V, Z).
        sites: N labels of acquisitions.
        subjects: N labels of subjects.
    """

    image: Tensor
    aligned: Tensor
    places: Tensor
    sites: tuple[str, ...]
    subjects: tuple[str, ...]

    def to(self, device: torch.device) -> "GuardBatch":
        """The same on ``device``."""
        image, aligned, places = (value.to(device) for value in (self.image, self.aligned, self.places))
        return GuardBatch(image, aligned, places, self.sites, self.subjects)


@dataclass(frozen=True)
class Pair:
    """A source, a target scan of the same sequence and of another subject, and a guard batch."""

    source: UnifiedScan
    target: UnifiedScan
    guard: GuardBatch

    def to(self, device: torch.device) -> "Pair":
        """The same on ``device``."""
        return Pair(self.source.to(device), self.target.to(device), self.guard.to(device))


class PairMaker:
    """Pairs of sources and targets, never of one subject: its target scan would give the answer away.

    Args:
        cache: Stage I results of the training scans, from which targets and guard batches are drawn.
        site: the target site.
        guard_scans: scans of a guard batch (more where fewer would leave a single site).

    Attributes:
        sequences: those with scans of two known sites, two subjects at one of them.
    """

    def __init__(self, cache: Stage1Cache, site: str, guard_scans: int) -> None:
        self.cache, self.site, self.guard_scans = cache, site, guard_scans
        self._scans = cache.volumes.scans
        self._sites: dict[str, dict[str, list[int]]] = {}  # scans by sequence and site
        for i, scan in enumerate(self._scans):
            self._sites.setdefault(scan.sequence, {}).setdefault(scan.site, []).append(i)
        self.sequences = [sequence for sequence in sorted(self._sites) if self._can_guard(sequence)]

    def pair(self, source: UnifiedScan, scan: DerivedScan, seed: int) -> Pair:
        """A pair for the source ``scan``; everything random follows from ``seed``."""
        rng = np.random.default_rng(seed)
        target = self.cache[int(rng.choice(self.partners(scan)))]
        return Pair(source, target, self.guard_batch(scan.sequence, int(rng.integers(2**32))))

    def partners(self, scan: DerivedScan) -> list[int]:
        """Target scans of the scan's sequence and of other subjects."""
        there = self._sites.get(scan.sequence, {}).get(self.site, [])
        return [i for i in there if self._scans[i].subject != scan.subject]

    def sources(self, scans: Sequence[DerivedScan]) -> list[int]:
        """Which of ``scans`` are from another site and have a target to go to, and a guard."""
        return [
            i
            for i, scan in enumerate(scans)
            if scan.site != self.site and scan.sequence in self.sequences and self.partners(scan)
        ]

    def guard_batch(self, sequence: str, seed: int) -> GuardBatch:
        """Scans of one of the ``sequences`` drawn by ``seed``, and what the frozen encoder made of them."""
        chosen = self.guards(sequence, np.random.default_rng(seed))
        slices = [self.cache.slices(i) for i in chosen]
        return GuardBatch(
            torch.cat([one.image for one in slices]),
            torch.cat([one.aligned for one in slices]),
            torch.cat([one.places for one in slices]),
            tuple(self._scans[i].site for i in chosen),
            tuple(self._scans[i].subject for i in chosen),
        )

    def guards(self, sequence: str, rng: np.random.Generator) -> list[int]:
        """Scans of a sequence: of a few subjects each at as many random sites as there is room for.

        Sites with two subjects come first. Scans of unknown site are left out.
        """
        names = [str(name) for name in rng.permutation(self._known_sites(sequence))]
        names.sort(key=lambda name: self._subjects(sequence, name) < 2)
        chosen: list[int] = []
        for place, name in enumerate(names):
            if place >= 2 and len(chosen) + 1 >= self.guard_scans:
                break
            scans = rng.permutation(self._sites[sequence][name])
            one_each = {self._scans[i].subject: int(i) for i in scans}
            chosen += list(one_each.values())[:SCANS_PER_SITE]
        return chosen[: max(self.guard_scans, SCANS_PER_SITE + 1)]

    def _can_guard(self, sequence: str) -> bool:
        known = self._known_sites(sequence)
        return len(known) > 1 and any(self._subjects(sequence, site) > 1 for site in known)

    def _known_sites(self, sequence: str) -> list[str]:
        return sorted(set(self._sites[sequence]) - {UNKNOWN})

    def _subjects(self, sequence: str, site: str) -> int:
        return len({self._scans[i].subject for i in self._sites[sequence][site]})


class TrainingPairs:
    """Pairs by (step, part): the source follows a plan, the rest from the position.

    Raises:
        NoInputError: there is no source.
    """

    def __init__(self, maker: PairMaker, accumulate: int, seed: int) -> None:
        self.maker, self.accumulate, self.seed = maker, accumulate, seed
        scans = maker.cache.volumes.scans
        self.sources = maker.sources(scans)
        if not self.sources:
            raise NoInputError(
                f"No scan can be fine-tuned to '{maker.site}': it takes a scan of the same sequence there, "
                "of another subject, and two subjects at one known site."
            )
        self.order = Order([scans[i] for i in self.sources], seed, balance_sites=True)

    def __getitem__(self, position: tuple[int, int]) -> Pair:
        """The pair of part ``part`` of step ``step``."""
        step, part = position
        index = self.sources[self.order[step * self.accumulate + part]]
        cache = self.maker.cache
        seed = draw_seed(self.seed, step, part, 2)
        return self.maker.pair(cache[index], cache.volumes.scans[index], seed)


class ValidationPairs:
    """Held-out sources with target scans of training subjects; always the same pairs."""

    def __init__(self, maker: PairMaker, held_out: Stage1Cache, seed: int) -> None:
        self.maker, self.held_out, self.seed = maker, held_out, seed
        self.sources = maker.sources(held_out.volumes.scans)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Pair:
        """Pair ``index``."""
        i = self.sources[index]
        seed = draw_seed(self.seed, index, 3)
        return self.maker.pair(self.held_out[i], self.held_out.volumes.scans[i], seed)
