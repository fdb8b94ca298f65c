"""What each step of a run does: learning rate, which scan, which random draws.

All of it follows from the recipe and the position in the run, so a resumed run repeats an unbroken one.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from bids_mmh.training.data import TrainingScan
from bids_mmh.training.recipe import Phase


def learning_rate(phase: Phase, step: int) -> float:
    """Linear warm-up over the first twentieth of the phase, then cosine decay to a hundredth."""
    warm = max(1, phase.steps // 20)
    if step < warm:
        return phase.learning_rate * (step + 1) / warm
    progress = (step - warm) / max(1, phase.steps - warm)
    return phase.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def order(scans: Sequence[TrainingScan], seed: int) -> Iterator[int]:
    """Endless indices into ``scans``: shuffled epochs, sequences in turn so that each weighs the same."""
    generators: list[Iterator[int]] = []
    for sequence in sorted({scan.sequence for scan in scans}):
        members = [i for i, scan in enumerate(scans) if scan.sequence == sequence]
        generators.append(_shuffled_forever(members, seed + len(generators)))
    while True:
        for generator in generators:
            yield next(generator)


def _shuffled_forever(members: list[int], seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for i in torch.randperm(len(members), generator=generator).tolist():
            yield members[i]


def draw_seed(*position: int) -> int:
    """An independent seed for a position (seed, phase, step, …) of a run."""
    return int(np.random.SeedSequence(position).generate_state(1)[0])
