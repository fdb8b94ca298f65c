"""Which scan each position of a run is trained on.

It follows from the seed and the position alone, never from what was drawn before. So a resumed run repeats an
unbroken one, and any number of processes or loader workers shares one run's positions.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.training.seeds import draw_seed


class Order:
    """Which of ``scans`` is the n-th to be trained on: ``order[n]`` for any n from 0.

    Sequences take turns, so that each weighs the same however many scans it has, and each sequence goes
    through its scans in shuffled epochs. With ``balance_sites`` the sites of a sequence take (shuffled) turns
    as well: a site with few scans then shows each of them more often.
    """

    def __init__(self, scans: Sequence[DerivedScan], seed: int, *, balance_sites: bool = False) -> None:
        self._sequences: list[tuple[_Shuffled, list[_Shuffled]]] = []
        for turn, sequence in enumerate(sorted({scan.sequence for scan in scans})):
            members = [i for i, scan in enumerate(scans) if scan.sequence == sequence]
            sites = _by_site(scans, members) if balance_sites else [members]
            shuffled = [_Shuffled(site, (seed, turn, place)) for place, site in enumerate(sites)]
            self._sequences.append((_Shuffled(range(len(sites)), (seed, turn)), shuffled))

    def __getitem__(self, n: int) -> int:
        """Index into the scans."""
        count, turn = divmod(n, len(self._sequences))
        turns, sites = self._sequences[turn]
        return sites[turns[count]][count // len(sites)]


def _by_site(scans: Sequence[DerivedScan], members: Sequence[int]) -> list[list[int]]:
    sites = sorted({scans[i].site for i in members})
    return [[i for i in members if scans[i].site == site] for site in sites]


class _Shuffled:
    """``members`` over and over, shuffled anew each time."""

    def __init__(self, members: Sequence[int], seed: tuple[int, ...]) -> None:
        self.members, self.seed = members, seed

    def __getitem__(self, n: int) -> int:
        epoch, place = divmod(n, len(self.members))
        return self.members[_permutation((*self.seed, epoch), len(self.members))[place]]


@lru_cache(maxsize=256)
def _permutation(seed: tuple[int, ...], count: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(draw_seed(*seed)).permutation(count).tolist())
