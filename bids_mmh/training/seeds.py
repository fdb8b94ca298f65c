"""Seeds that follow from a position in a run; needs NumPy alone."""

import numpy as np


def draw_seed(*position: int) -> int:
    """An independent seed for a position (seed, phase, step, part, …) of a run."""
    return int(np.random.SeedSequence(position).generate_state(1)[0])
