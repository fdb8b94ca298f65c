"""Time and peak memory of one session: preprocessing, and one harmonization with the embedded model.

Run with ``make bench``, or ``python benchmarks/speed/session.py [BIDS_DIR] [--threads N]``. Without a dataset
a phantom of one subject (1 mm) is made. Each step runs in a process of its own, with its own peak memory.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

PHANTOM = "from bids_mmh.cli.phantom import console; console()"
PROGRAM = [sys.executable, "-m", "bids_mmh"]


def measured(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds and peak memory (GB, largest single process) of a command and its children."""
    code = (
        "import json, resource, subprocess, sys, time; t = time.perf_counter();"
        "r = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([r.returncode, time.perf_counter() - t, u.ru_utime + u.ru_stime, u.ru_maxrss]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    status, wall, cpu, rss = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return {"wall_s": wall, "cpu_s": cpu, "peak_gb": rss * 1024 / 1e9}


def bench(bids_dir: Path | None, threads: int) -> dict[str, dict[str, float]]:
    """Measure preprocessing of every session of a dataset and then harmonization alone."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        rows = {}
        if bids_dir is None:
            bids_dir = root / "raw"
            make = [sys.executable, "-c", PHANTOM, str(bids_dir)]
            rows["phantom, T1w + T2w"] = measured([*make, "--subjects", "1", "--sites", "1", "--no-truth"])
        common = [str(bids_dir), str(root / "out"), "participant", "-w", str(root / "work")]
        common += ["--nprocs", "1", "--omp-nthreads", str(threads), "--skip-bids-validation"]
        rows["preprocess, whole session"] = measured([*PROGRAM, *common, "--preproc-only"])
        rows["harmonize, all scans (preprocessing cached)"] = measured([*PROGRAM, *common])
        rows["the page alone, start-up included"] = measured([*PROGRAM, *common, "--reports-only"])
        rows["nothing left to do"] = measured([*PROGRAM, *common])
        return rows


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bids_dir", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    start = time.perf_counter()
    rows = bench(options.bids_dir, options.threads)
    machine = platform.processor() or platform.machine()
    seconds = time.perf_counter() - start
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {options.threads} thread(s), {seconds:.0f} s in all\n")
    print("| step | wall s | CPU s | peak GB |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['wall_s']:.0f} | {row['cpu_s']:.0f} | {row['peak_gb']:.1f} |")


if __name__ == "__main__":
    main()
