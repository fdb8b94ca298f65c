import json
import subprocess
import sys

import pytest

from bids_mmh.freed_memory import freed_memory_kept

MEGABYTES = 200
# In a process of its own: what other tests have freed may still lie on the heap of this one.
PROGRAM = f"""
import json
from pathlib import Path
import numpy as np
from bids_mmh.freed_memory import freed_memory_kept

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

before = resident()
with freed_memory_kept():
    volume = np.ones({MEGABYTES} * 1_000_000 // 8)
    del volume
    within = resident()
print(json.dumps([before, within, resident()]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_kept_within_the_block_and_given_back_after_it():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, within, after = json.loads(done.stdout)
    assert within > before + 0.9 * MEGABYTES
    assert after < before + 0.2 * MEGABYTES


def test_an_error_within_the_block_is_passed_on():
    with pytest.raises(ValueError, match="within"), freed_memory_kept():
        raise ValueError("within")
