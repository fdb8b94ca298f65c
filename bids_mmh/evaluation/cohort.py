"""Whose scans are measured: never those that a model was trained on, and of a big study a fixed sample."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Generic

from bids_mmh.evaluation.scans import AnyVisit, travelling_pairs

MOST_PAIRS = 15
"""Of one subject in one sequence: one scanned at twenty sites would make 190."""


@dataclass(frozen=True)
class Cohort(Generic[AnyVisit]):
    """The scans of one sequence and space that are measured.

    Attributes:
        scans: Of known site, subject by subject.
        travellers: Subjects among them with scans at several sites.
        trained_on: How many subjects were left out because a model saw them in its training.
        sampled_from: How many scans there were to choose from; more than ``scans`` where a cap was reached.
    """

    scans: tuple[AnyVisit, ...]
    travellers: frozenset[str]
    trained_on: int
    sampled_from: int

    def of(self, subject: str) -> list[AnyVisit]:
        """The scans of one subject, in order."""
        return [scan for scan in self.scans if scan.subject == subject]


def choose_cohort(
    scans: Sequence[AnyVisit], trained_on: Collection[str], cap: int, *, seed: int = 0
) -> Cohort[AnyVisit]:
    """Choose the scans to measure.

    Whole subjects are chosen. Travelling subjects come first and may fill half of the sample, then sites take
    turns, then the other travelling subjects follow. The choice depends on names and the seed alone, so that
    adding subjects to a study moves few others in or out.

    Args:
        scans: Scans of one sequence and space, all of known site.
        trained_on: Subjects that a model saw in its training: never chosen.
        cap: Most scans; 0 for all of them.
        seed: Decides the sample.

    Returns:
        The chosen scans in the order given.
    """
    by_subject: dict[str, list[AnyVisit]] = defaultdict(list)
    for scan in scans:
        by_subject[scan.subject].append(scan)
    left_out = set(by_subject) & set(trained_on)
    known = {subject: own for subject, own in by_subject.items() if subject not in left_out}
    travellers = {subject for subject, own in known.items() if len({scan.site for scan in own}) > 1}
    chosen = _fill(known, travellers, cap, seed) if cap else set(known)
    return Cohort(
        scans=tuple(scan for scan in scans if scan.subject in chosen),
        travellers=frozenset(travellers & chosen),
        trained_on=len(left_out),
        sampled_from=sum(map(len, known.values())),
    )


def subject_pairs(scans: Sequence[AnyVisit], target: str | None) -> list[tuple[AnyVisit, AnyVisit]]:
    """Pair one subject's scans of different sites.

    Args:
        scans: All scans of one subject and sequence.
        target: The site that everything is compared with; None to compare sites with each other.

    Returns:
        Pairs (scan elsewhere, scan at the target), or of each two sites' first scans, at most ``MOST_PAIRS``.
    """
    if target is not None:
        pairs = travelling_pairs(scans, target)
    else:
        first: dict[str, AnyVisit] = {}
        for scan in scans:
            first.setdefault(scan.site, scan)
        pairs = list(combinations(first.values(), 2))
    if len(pairs) <= MOST_PAIRS:
        return pairs
    # Evenly spaced, so that every site keeps its share.
    return [pairs[i * len(pairs) // MOST_PAIRS] for i in range(MOST_PAIRS)]


def draw(names: Collection[str], seed: int = 0) -> list[str]:
    """Put names in a random order that one more name does not change for the others."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def _fill(
    by_subject: dict[str, list[AnyVisit]], travellers: Collection[str], cap: int, seed: int
) -> set[str]:
    """Choose subjects until the cap is reached; one that would exceed it gives way to the next."""
    order = draw(by_subject, seed)
    movers = [subject for subject in order if subject in travellers]
    by_site: dict[str, list[str]] = defaultdict(list)
    for subject in order:
        if subject not in travellers:
            by_site[by_subject[subject][0].site].append(subject)
    turns = [subject for turn in zip_longest(*by_site.values()) for subject in turn if subject is not None]
    chosen: set[str] = set()
    used = 0
    for queue, limit in ((movers, cap // 2), (turns, cap), (movers, cap)):
        for subject in queue:
            size = len(by_subject[subject])
            if subject not in chosen and used + size <= limit:
                chosen.add(subject)
                used += size
    return chosen
