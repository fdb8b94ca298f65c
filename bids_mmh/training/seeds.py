"""Seeds that follow from a position in a run; needs NumPy alone."""

import numpy as np

VALIDATION = 2**32 - 1  # stands for the phase in the seeds of validation, which are the same in all phases


def draw_seed(*position: int) -> int:
    """An independent seed for a position (seed, phase, step, part, …) of a run."""
    return int(np.random.SeedSequence(position).generate_state(1)[0])
