"""Cost of one scan: the published method, this program's model, and what others use in their place.

``python benchmarks/speed/reference.py`` prints Markdown. The published method is MONAI's stock network with
its settings (channels 32, 64, 256, 256, attention at the two deepest levels), called 35 + 24 times in each of
two stages. On a CPU one call at 1 mm takes minutes and ten times the memory, so it is measured at 4 and 2 mm,
its operations are counted at every size, and the time at 1 mm follows from the operations a second at 2 mm;
what the rate at 4 mm says of 2 mm stands beside what was measured there. Everything else is measured at 1 mm,
and where there is a CUDA device the network is too.

All work on one volume, the template's T1w, each in a process of its own with one thread.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

CALLS = 118  # 35 to invert and 24 to sample, in both stages
ATTENTION = (False, False, True, True)
MULTIPLE = 8  # of every side of what the stock network takes
SPACINGS = (4.0, 2.0, 1.0)
CLASSICAL = ("Histogram matching", "z-score", "WhiteStripe", "Nyúl")
N4 = "N4 alone (shrink 4, 4 × 50 iterations)"
OURS = "the embedded model, one scan at 1 mm"
PUBLISHED = "published method"


@dataclass(frozen=True)
class Cost:
    """What one piece of work took.

    Attributes:
        cpu_s: CPU seconds; on a GPU, seconds.
        peak_gb: Peak memory of the process, or of the GPU, GB (10^9 bytes).
        tflop: Floating-point operations, 10^12; None where they were not counted.
    """

    cpu_s: float
    peak_gb: float
    tflop: float | None = None


@dataclass(frozen=True)
class Volume:
    """The template's T1w as a scan: scaled intensities, background -1, and its brain mask."""

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]


def volume(spacing: float) -> Volume:
    """Read the template on the model's grid of a voxel size in mm."""
    from bids_mmh.participant.harmonize import scale_brain
    from bids_mmh.preprocess.grid import model_grid
    from bids_mmh.preprocess.images import to_array
    from bids_mmh.preprocess.steps.resample import template_on_grid
    from bids_mmh.preprocess.template import NILEARN_SPACE, find_template

    with TemporaryDirectory() as folder:
        files = find_template(NILEARN_SPACE, Path(folder))
        template = template_on_grid(files.t1w, files.brain_mask, model_grid(spacing))
    mask = to_array(template.brain_mask) > 0
    # A little noise: a template has less than any scan, and quantiles that coincide.
    noise = np.random.default_rng(0).normal(0, 1, mask.shape).astype(np.float32)
    return Volume(scale_brain(to_array(template.t1w) + noise, mask)[0], mask)


def padded(shape: Sequence[int]) -> tuple[int, int, int]:
    """The next shape that the stock network takes.

    Examples:
        >>> padded((72, 92, 92))
        (72, 96, 96)
    """
    x, y, z = (-(-side // MULTIPLE) * MULTIPLE for side in shape)
    return x, y, z


def stock_tflop(spacing: float) -> float:
    """Count the operations of one call without doing them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.gpu.speed import stock
    from bids_mmh.preprocess.grid import model_grid

    contender = stock(padded(model_grid(spacing).shape), torch.device("meta"), attention=ATTENTION)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        contender.call()
    return counter.get_total_flops() / 1e12


def measure_stock(spacing: float, device: str = "cpu") -> Cost:
    """Measure one call of the stock network."""
    import torch

    from benchmarks.gpu.speed import stock
    from bids_mmh.preprocess.grid import model_grid

    contender = stock(padded(model_grid(spacing).shape), torch.device(device), attention=ATTENTION)
    return _measured(contender.call, device)


def measure_ours(device: str = "cpu") -> Cost:
    """Measure the embedded model on one scan at 1 mm, from scaled volume to result."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from bids_mmh.method.harmonizer import Harmonizer
    from bids_mmh.method.model_files import embedded_folder

    scan, model = volume(1.0), Harmonizer.from_pretrained(embedded_folder(), device)
    inputs = [torch.from_numpy(array)[None, None].to(device) for array in (scan.values, scan.mask)]
    sequence = torch.tensor([0], device=device)
    with FlopCounterMode(display=False) as counter:
        cost = _measured(lambda: model(*inputs, sequence), device)
    return Cost(cost.cpu_s, cost.peak_gb, counter.get_total_flops() / 1e12)


def measure_classical(name: str) -> Cost:
    """Measure a control of the evaluation, with what it needs to know of the scan."""
    from bids_mmh.evaluation.controls.methods import CONTROLS, fit_controls
    from bids_mmh.evaluation.scans import ScanArrays

    scan = volume(1.0)
    other = np.where(scan.mask, np.float32(0.9) * scan.values, np.float32(-1))
    here, there = (
        ScanArrays(name, name, name, "T1w", values, scan.mask, (1.0, 1.0, 1.0))
        for name, values in (("here", scan.values), ("there", other))
    )
    fit = fit_controls([there], "there")
    return _measured(lambda: CONTROLS[name](here, fit))


def measure_n4() -> Cost:
    """Measure N4 by itself, with the settings that ANTs documents."""
    import SimpleITK

    scan = volume(1.0)
    image, mask = (
        SimpleITK.GetImageFromArray(array)
        for array in (np.where(scan.mask, scan.values + 2, 0), scan.mask.astype(np.uint8))
    )
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([50] * 4)

    def correct() -> None:
        n4.Execute(SimpleITK.Shrink(image, [4] * 3), SimpleITK.Shrink(mask, [4] * 3))
        _ = image / SimpleITK.Exp(SimpleITK.Cast(n4.GetLogBiasFieldAsImage(image), image.GetPixelID()))

    return _measured(correct)


def _measured(work: Callable[[], object], device: str = "cpu") -> Cost:
    """Time and peak memory of a piece of work; on a GPU of its second turn."""
    import torch

    torch.set_num_threads(1)
    with torch.no_grad():
        if device == "cpu":
            start = time.process_time()
            work()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
            return Cost(time.process_time() - start, peak)
        work()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return Cost(time.perf_counter() - start, torch.cuda.max_memory_allocated() / 1e9)


def measure(what: str, spacing: float = 1.0, device: str = "cpu") -> Cost:
    """Measure one piece of work in this process; see :func:`apart`."""
    if what == "stock":
        return measure_stock(spacing, device)
    if what == OURS:
        return measure_ours(device)
    return measure_n4() if what == N4 else measure_classical(what)


def apart(what: str, spacing: float = 1.0, device: str = "cpu") -> Cost:
    """Measure one piece of work in a process of its own, with one thread."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", what, str(spacing), device],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


@dataclass(frozen=True)
class Row:
    """A row of the table; ``measured`` is false where the time follows from another size."""

    what: str
    cost: Cost
    measured: bool = True

    def cells(self, ours: float) -> tuple[str, ...]:
        """Texts of the row; the last one is the time as a multiple of ``ours``."""
        seconds = f"{self.cost.cpu_s:,.{2 if self.cost.cpu_s < 10 else 0}f}"
        times = self.cost.cpu_s / ours
        return (
            self.what,
            seconds if self.measured else f"{seconds} (extrapolated)",
            f"{self.cost.peak_gb:.1f}" if self.measured else "",
            "" if self.cost.tflop is None else f"{self.cost.tflop:,.2f}",
            f"{times:,.{2 if times < 10 else 0}f}",
        )


def published_rows() -> tuple[list[Row], str]:
    """The published network at all sizes, a scan with it, and how well the extrapolation holds."""
    tflop = {spacing: stock_tflop(spacing) for spacing in SPACINGS}
    seen = {spacing: apart("stock", spacing) for spacing in SPACINGS[:2]}
    coarse, fine, full = SPACINGS
    rate = {spacing: tflop[spacing] / cost.cpu_s for spacing, cost in seen.items()}
    at_full = tflop[full] / rate[fine]
    call = Cost(at_full, 0.0, tflop[full])
    scan = Cost(CALLS * at_full, 0.0, CALLS * tflop[full])
    found = [
        Row(f"{PUBLISHED}, one call at {spacing:g} mm", replace(cost, tflop=tflop[spacing]))
        for spacing, cost in seen.items()
    ]
    found += [
        Row(f"{PUBLISHED}, one call at {full:g} mm", call, measured=False),
        Row(f"{PUBLISHED}, one scan at {full:g} mm: {CALLS} calls", scan, measured=False),
    ]
    note = (
        f"The published network did {1000 * rate[coarse]:.0f} GFLOP/s at {coarse:g} mm and "
        f"{1000 * rate[fine]:.0f} at {fine:g} mm. The rate at {coarse:g} mm predicts "
        f"{tflop[fine] / rate[coarse]:.0f} s for a call at {fine:g} mm; "
        f"{seen[fine].cpu_s:.0f} s were measured."
    )
    return found, note


def gpu_rows() -> list[Row]:
    """The published network and ours at full size on a CUDA device; none where there is none."""
    from bids_mmh.runtime.devices import count_gpus

    if not count_gpus():
        return []
    return [
        Row(f"{PUBLISHED}, one call at 1 mm, CUDA", apart("stock", 1.0, "cuda")),
        Row(f"{OURS}, CUDA", apart(OURS, 1.0, "cuda")),
    ]


def rows() -> tuple[list[Row], str]:
    """Measure everything; the row of this program is called ``OURS``. The note is on the extrapolation."""
    published, note = published_rows()
    others = [Row(name, apart(name)) for name in (OURS, *CLASSICAL, N4)]
    return [*published, *others, *gpu_rows()], note


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or measure one piece of work as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "MM", "DEVICE"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.measure:
        what, spacing, device = options.measure
        print(json.dumps(asdict(measure(what, float(spacing), device))))
        return 0
    measured, note = rows()
    ours = next(row.cost.cpu_s for row in measured if row.what == OURS)
    head = ("what", "CPU s", "peak GB", "TFLOP", "times our model")
    lines = (head, ["---"] * len(head), *(row.cells(ours) for row in measured))
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, one thread each\n")
    print("\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
