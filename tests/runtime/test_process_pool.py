"""Workers do not outlive whoever started them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import time
from bids_mmh.runtime.process_pool import process_pool

def main():
    pool = process_pool(1)
    print(pool.submit(__import__("os").getpid).result(), flush=True)
    pool.submit(time.sleep, 60)
    time.sleep(60)

if __name__ == "__main__":
    main()
"""


@pytest.mark.timeout(60)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes as Linux shows them")
def test_workers_end_with_a_process_that_is_killed(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen([sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, text=True)
    worker = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(worker)


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
