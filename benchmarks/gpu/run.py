"""Everything that a few minutes of a GPU are good for, in one command.

``python benchmarks/gpu/run.py --anatomies DIR --out DIR [--minutes 12] [--rehearse]``

Four stages, each in a process of its own with its own budget of time, so that none stops the next: checks of
the device, speed and memory, training of the embedded model, validation. Needs PyTorch, NumPy and this
repository, no network. What comes back, and what to do with it: README.md beside this file.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu.report import Report  # noqa: E402

VALIDATION = 0.12  # share of the time that training leaves to the stage after it
START = 0.03  # share that a stage may take beyond its budget: imports, and the end of what it does


@dataclass(frozen=True)
class Clock:
    """Time that a run has, in seconds."""

    total: float
    begun: float
    shared: bool  # whether the first stages have fixed shares; a rehearsal is to see the end of all

    @property
    def left(self) -> float:
        """Until the end of the run."""
        return self.total - (time.monotonic() - self.begun)

    def budget(self, stage: str) -> float:
        """Of a stage that begins now: fixed shares for what comes first, then what is left."""
        if not self.shared:
            return self.left
        share = {"checks": 0.12, "speed": 0.18}.get(stage)
        if share is not None:
            return min(share * self.total, self.left)
        later = VALIDATION if stage == "training" else 0.0
        return self.left - (later + START) * self.total


def main(argv: Sequence[str] | None = None) -> int:
    """Run all stages; returns 0 if each of them came to its end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--anatomies", type=Path, required=True, help="of anatomies.py or pack.py")
    parser.add_argument(
        "--out", type=Path, required=True, help="for results; training goes on from what is there"
    )
    parser.add_argument("--minutes", type=float, default=12.0, help="for everything (12)")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at a size of toys")
    parser.add_argument("--monai-wheel", type=Path, help="MONAI to compare with, where none is installed")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=STAGES, help="some of the stages")
    options = parser.parse_args(argv)
    clock = Clock(60 * options.minutes, time.monotonic(), not options.rehearse)
    failed = [stage for stage in options.only if not run_one(stage, clock, options)]
    print((options.out / "results.md").read_text(encoding="utf-8"))
    if failed:
        print(f"Not finished: {', '.join(failed)}.", file=sys.stderr)
    return int(bool(failed))


STAGES = ("checks", "speed", "training", "validation")


def run_one(stage: str, clock: Clock, options: argparse.Namespace) -> bool:
    """Run a stage in a process of its own; says whether it came to its end, in the report too."""
    seconds = max(clock.budget(stage), 1.0)
    arguments = ["--anatomies", str(options.anatomies.resolve()), "--out", str(options.out.resolve())]
    arguments += ["--seconds", str(seconds)] + ["--rehearse"] * options.rehearse
    if options.monai_wheel:
        arguments += ["--monai-wheel", str(options.monai_wheel.resolve())]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.gpu.{stage}", *arguments],
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stderr=subprocess.PIPE,
            text=True,
            timeout=seconds + START * clock.total,
            check=False,
        )
    except subprocess.TimeoutExpired:
        Report(options.out).finish(stage, "stopped: its time was over")
        return False
    print(f"{stage}: {time.monotonic() - begun:.0f} s", flush=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr, flush=True)
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        Report(options.out).finish(stage, f"failed with exit code {done.returncode}: {last[:300]}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
