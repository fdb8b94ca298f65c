"""The learning rate of a phase: warm-up and cosine decay."""

import math

from bids_mmh.training.recipe import Phase


def learning_rate(phase: Phase, step: int) -> float:
    """Linear warm-up over the first twentieth of the phase, then cosine decay to a hundredth."""
    warm = max(1, phase.steps // 20)
    if step < warm:
        return phase.learning_rate * (step + 1) / warm
    progress = (step - warm) / max(1, phase.steps - warm)
    return phase.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
