"""Which target scan a source scan is fine-tuned towards, and which scans guard the aggregator."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bids_mmh.errors import NoInputError
from bids_mmh.training.data.scan_order import Order
from bids_mmh.training.data.scans import TrainingScan
from bids_mmh.training.seeds import draw_seed
from bids_mmh.training.stage2.stage1_cache import Walk, WalkCache
from bids_mmh.training.stage2.target_site import UNKNOWN

SCANS_PER_SITE = 3  # of a guard batch: enough for partners, few enough for several sites


@dataclass(frozen=True)
class GuardBatch:
    """Real scans of one sequence from several sites, for the guard against a collapsed aggregator.

    Attributes:
        image: (N, V, Z, D) frozen embeddings of the scans.
        aligned: the same of their unified selves.
        places: (N, V, Z).
        sites: N labels of acquisitions.
        subjects: N labels of people.
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
    """A source, a target scan of the same sequence and of another person, and a guard batch."""

    source: Walk
    target: Walk
    guard: GuardBatch

    def to(self, device: torch.device) -> "Pair":
        """The same on ``device``."""
        return Pair(self.source.to(device), self.target.to(device), self.guard.to(device))


class PairMaker:
    """Pairs of sources and targets. Never two scans of one person: that would show the answer.

    Args:
        walks: of the training scans, from which targets and guards come.
        site: the target site.
        guard_scans: scans of a guard batch (more where fewer would leave a single site).

    Attributes:
        sequences: those that scans of two known sites, two people at one of them, can guard.
    """

    def __init__(self, walks: WalkCache, site: str, guard_scans: int) -> None:
        self.walks, self.site, self.guard_scans = walks, site, guard_scans
        self._scans = walks.volumes.scans
        self._sites: dict[str, dict[str, list[int]]] = {}  # scans by sequence and site
        for i, scan in enumerate(self._scans):
            self._sites.setdefault(scan.sequence, {}).setdefault(scan.site, []).append(i)
        self.sequences = [sequence for sequence in sorted(self._sites) if self._can_guard(sequence)]

    def pair(self, source: Walk, scan: TrainingScan, seed: int) -> Pair:
        """A pair for the source ``scan``; everything random follows from ``seed``."""
        rng = np.random.default_rng(seed)
        target = self.walks[int(rng.choice(self.partners(scan)))]
        return Pair(source, target, self.guard_batch(scan.sequence, int(rng.integers(2**32))))

    def partners(self, scan: TrainingScan) -> list[int]:
        """Target scans of the scan's sequence and of other people."""
        there = self._sites.get(scan.sequence, {}).get(self.site, [])
        return [i for i in there if self._scans[i].subject != scan.subject]

    def sources(self, scans: Sequence[TrainingScan]) -> list[int]:
        """Which of ``scans`` are from another site and have a target to go to, and a guard."""
        return [
            i
            for i, scan in enumerate(scans)
            if scan.site != self.site and scan.sequence in self.sequences and self.partners(scan)
        ]

    def guard_batch(self, sequence: str, seed: int) -> GuardBatch:
        """Scans of one of the ``sequences`` drawn by ``seed``, and what the frozen encoder made of them."""
        chosen = self.guards(sequence, np.random.default_rng(seed))
        slices = [self.walks.slices(i) for i in chosen]
        return GuardBatch(
            torch.cat([one.image for one in slices]),
            torch.cat([one.aligned for one in slices]),
            torch.cat([one.places for one in slices]),
            tuple(self._scans[i].site for i in chosen),
            tuple(self._scans[i].subject for i in chosen),
        )

    def guards(self, sequence: str, rng: np.random.Generator) -> list[int]:
        """Scans of a sequence: of a few people each at as many random sites as there is room for.

        Sites come first that have two people to compare. Scans of unknown sites tell nothing of acquisitions.
        """
        names = [str(name) for name in rng.permutation(self._known_sites(sequence))]
        names.sort(key=lambda name: self._people(sequence, name) < 2)
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
        return len(known) > 1 and any(self._people(sequence, site) > 1 for site in known)

    def _known_sites(self, sequence: str) -> list[str]:
        return sorted(set(self._sites[sequence]) - {UNKNOWN})

    def _people(self, sequence: str, site: str) -> int:
        return len({self._scans[i].subject for i in self._sites[sequence][site]})


class TrainingPairs:
    """Pairs by (step, part): the source follows a plan, the rest from the position.

    Raises:
        NoInputError: there is no source.
    """

    def __init__(self, maker: PairMaker, accumulate: int, seed: int) -> None:
        self.maker, self.accumulate, self.seed = maker, accumulate, seed
        scans = maker.walks.volumes.scans
        self.sources = maker.sources(scans)
        if not self.sources:
            raise NoInputError(
                f"No scan can be fine-tuned to '{maker.site}': it takes a scan of the same sequence there, "
                "of another person, and two people at one known site."
            )
        self.order = Order([scans[i] for i in self.sources], seed, balance_sites=True)

    def __getitem__(self, position: tuple[int, int]) -> Pair:
        """The pair of part ``part`` of step ``step``."""
        step, part = position
        index = self.sources[self.order[step * self.accumulate + part]]
        walks = self.maker.walks
        seed = draw_seed(self.seed, step, part, 2)
        return self.maker.pair(walks[index], walks.volumes.scans[index], seed)


class ValidationPairs:
    """Held-out sources with target scans of people that were trained on; always the same pairs."""

    def __init__(self, maker: PairMaker, held_out: WalkCache, seed: int) -> None:
        self.maker, self.held_out, self.seed = maker, held_out, seed
        self.sources = maker.sources(held_out.volumes.scans)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Pair:
        """Pair ``index``."""
        i = self.sources[index]
        seed = draw_seed(self.seed, index, 3)
        return self.maker.pair(self.held_out[i], self.held_out.volumes.scans[i], seed)
