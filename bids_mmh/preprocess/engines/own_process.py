"""Python code in a process of its own: one that has loaded PyTorch is heavy, and does not fork safely."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_apart(script: str, arguments: Sequence[str], *, result: Path, threads: int) -> str | None:
    """Run Python code that writes a file.

    Args:
        script: The code.
        arguments: What it finds in ``sys.argv[1:]``.
        result: File that it writes.
        threads: Number of CPU threads.

    Returns:
        None if there is a result, else the last line of what the code said.
    """
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", script, *arguments],
        env=os.environ | limits,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and result.is_file():
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
