import sys
from pathlib import Path

import numpy as np
import pytest

from bids_mmh.runtime.memory import freed_memory_kept

MEGABYTES = 200


def resident():
    """Memory of this process, megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_kept_within_the_block_and_given_back_after_it():
    before = resident()
    with freed_memory_kept():
        volume = np.ones(MEGABYTES * 1_000_000 // 8)
        del volume
        within = resident()
    assert within > before + 0.9 * MEGABYTES
    assert resident() < before + 0.2 * MEGABYTES


def test_an_error_within_the_block_is_passed_on():
    with pytest.raises(ValueError, match="within"), freed_memory_kept():
        raise ValueError("within")
