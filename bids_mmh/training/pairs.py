"""Which target scan a source scan is fine-tuned towards, and which scans guard the aggregator."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bids_mmh.errors import NoInputError
from bids_mmh.training.data import TrainingScan
from bids_mmh.training.plan import Order, draw_seed
from bids_mmh.training.walks import Walk, WalkCache

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
        guard_scans: scans of a guard batch.
    """

    def __init__(self, walks: WalkCache, site: str, guard_scans: int) -> None:
        self.walks, self.site, self.guard_scans = walks, site, guard_scans

    @property
    def _scans(self) -> list[TrainingScan]:
        return self.walks.volumes.scans

    def pair(self, source: Walk, scan: TrainingScan, seed: int) -> Pair:
        """A pair for the source ``scan``; everything random follows from ``seed``."""
        rng = np.random.default_rng(seed)
        target = self.walks[int(rng.choice(self.partners(scan)))]
        return Pair(source, target, self.guard_batch(scan.sequence, int(rng.integers(2**32))))

    def partners(self, scan: TrainingScan) -> list[int]:
        """Target scans of the scan's sequence and of other people."""
        return [
            i
            for i, other in enumerate(self._scans)
            if (other.site, other.sequence) == (self.site, scan.sequence) and other.subject != scan.subject
        ]

    def guard_batch(self, sequence: str, seed: int) -> GuardBatch:
        """Scans of a sequence drawn by ``seed``, and what the frozen encoder made of them."""
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
        """Scans of a sequence: a few each of as many random sites as ``guard_scans`` has room for.

        Sites come first that have two scans to compare.
        """
        sites: dict[str, list[int]] = {}
        for i, scan in enumerate(self._scans):
            if scan.sequence == sequence:
                sites.setdefault(scan.site, []).append(i)
        names = [str(name) for name in rng.permutation(sorted(sites))]
        names.sort(key=lambda name: len(sites[name]) < 2)
        chosen: list[int] = []
        for name in names:
            if len(chosen) + 1 >= self.guard_scans:
                break
            chosen += [int(i) for i in rng.permutation(sites[name])[:SCANS_PER_SITE]]
        return chosen[: self.guard_scans]


class TrainingPairs:
    """Pairs by (step, part): the source follows a plan, the rest from the position."""

    def __init__(self, maker: PairMaker, accumulate: int, seed: int) -> None:
        self.maker, self.accumulate, self.seed = maker, accumulate, seed
        scans = maker.walks.volumes.scans
        self.sources = sources_of(maker, scans)
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
        scans = held_out.volumes.scans
        self.sources = [i for i, scan in enumerate(scans) if scan.site != maker.site and maker.partners(scan)]

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Pair:
        """Pair ``index``."""
        i = self.sources[index]
        seed = draw_seed(self.seed, index, 3)
        return self.maker.pair(self.held_out[i], self.held_out.volumes.scans[i], seed)


def sources_of(maker: PairMaker, scans: Sequence[TrainingScan]) -> list[int]:
    """Scans from other sites that have a target to go to.

    Raises:
        NoInputError: there is none.
    """
    sources = [i for i, scan in enumerate(scans) if scan.site != maker.site and maker.partners(scan)]
    if not sources:
        raise NoInputError(
            f"No scan from another site has a scan of another person at '{maker.site}' to be fine-tuned to."
        )
    return sources
