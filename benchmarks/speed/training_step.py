"""Time and memory of one training step (forward, backward, Adam) of a configuration.

``python benchmarks/speed/training_step.py [--preset paper] [--sizes 32x40x40 ...] [--full]`` measures each
size in a process of its own and, where there is no GPU, estimates the full grid from the smaller ones: time
as a·voxels + b·tokens² (convolutions, attention), memory as c + d·voxels, by least squares, all of them ≥ 0.
On a GPU (``--full``, the default there) the full grid is measured.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from scipy.optimize import nnls

from bids_mmh.method.config import PRESETS, ModelConfig
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.precision import fast_autocast, precision_name
from bids_mmh.training.data.scans import Volume
from bids_mmh.training.recipe import Phase, Recipe
from bids_mmh.training.stage1.objective import draw, stage1_losses

Size = tuple[int, int, int]
SMALL: tuple[Size, ...] = ((24, 32, 32), (32, 40, 40), (40, 48, 48), (48, 56, 56))


@dataclass(frozen=True)
class Cost:
    """Of one step: CPU (or GPU wall) seconds and peak memory in GB."""

    seconds: float
    memory: float


def measure(preset: str, size: Size, *, checkpointing: bool) -> Cost:
    """Run three steps here and return the fastest, and the peak memory of this process or of the GPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    config = PRESETS[preset]
    model = Harmonizer(config).to(device).to(memory_format=torch.channels_last_3d)
    model.network.checkpointing = checkpointing
    recipe = Recipe(config, (Phase(config.spacing, 1),), max_timestep=100, unified_share=1.0)
    optimizer = torch.optim.Adam(model.network.parameters())
    seconds = []
    for turn in range(3):
        start = _now(device)
        volume = _volume(size).to(device)
        with fast_autocast(device):
            chosen = draw(volume, recipe, turn).to(device)
            losses = stage1_losses(model, model.network, volume, chosen, recipe).losses
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(_now(device) - start)
    peak = (
        torch.cuda.max_memory_allocated() / 1e9
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    )
    return Cost(min(seconds), peak)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def _volume(size: Size) -> Volume:
    image = torch.rand(1, 1, *size) * 1.6 - 0.8
    return Volume(image, torch.ones(1, 1, *size, dtype=torch.bool), torch.tensor([0]))


def in_own_process(preset: str, size: Size, *, checkpointing: bool) -> Cost:
    """Measure in a new process, so that its peak is its own."""
    argument = json.dumps([preset, size, checkpointing])
    done = subprocess.run(
        [sys.executable, __file__, "--one", argument], check=True, capture_output=True, text=True
    )
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def attended(config: ModelConfig, size: Size) -> float:
    """Σ tokens² over the levels that attend, the middle block counting as the deepest level."""
    tokens = [
        np.prod(size) / (config.network.patch * 2**level) ** 3
        for level in range(len(config.network.channels))
    ]
    blocks = [
        count**2 * (2 * config.network.res_blocks + 1)
        for count, attends in zip(tokens, config.network.attention, strict=True)
        if attends
    ]
    return float(sum(blocks) + tokens[-1] ** 2)


def estimate(config: ModelConfig, sizes: Sequence[Size], costs: Sequence[Cost], full: Size) -> Cost:
    """Extrapolate to the full grid from smaller ones."""
    voxels = np.array([np.prod(size) for size in sizes], float)
    squares = np.array([attended(config, size) for size in sizes])
    time_fit, _ = nnls(np.stack([voxels, squares], 1), np.array([cost.seconds for cost in costs]))
    memory_fit, _ = nnls(np.stack([np.ones_like(voxels), voxels], 1), np.array([c.memory for c in costs]))
    seconds = time_fit @ [np.prod(full), attended(config, full)]
    return Cost(float(seconds), float(memory_fit @ [1.0, np.prod(full)]))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="paper")
    parser.add_argument("--sizes", nargs="+", metavar="HxWxD", help="smaller grids to measure")
    parser.add_argument("--full", action="store_true", help="measure the full grid too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        preset, size, checkpointing = json.loads(options.one)
        cost = measure(preset, tuple(size), checkpointing=checkpointing)
        print(json.dumps(cost.__dict__))
        return 0
    config = PRESETS[options.preset]
    gpu = torch.cuda.is_available()
    sizes: list[Size] = [tuple(map(int, text.split("x"))) for text in options.sizes or ()] or list(SMALL)
    if gpu or options.full:
        sizes.append(config.shape)
    print("| grid | activation checkpointing | s a step | peak GB |\n|---|---|---:|---:|")
    for checkpointing in (False, True):
        costs = [in_own_process(options.preset, size, checkpointing=checkpointing) for size in sizes]
        rows = list(zip(sizes, costs, [""] * len(sizes), strict=True))
        if config.shape not in sizes:
            rows.append((config.shape, estimate(config, sizes, costs, config.shape), " (estimate)"))
        for size, cost, remark in rows:
            grid, answer = "×".join(map(str, size)), "yes" if checkpointing else "no"
            print(f"| {grid}{remark} | {answer} | {cost.seconds:.2f} | {cost.memory:.2f} |", flush=True)
    device = torch.device("cuda" if gpu else "cpu")
    name = torch.cuda.get_device_name() if gpu else f"one thread of {platform.machine()}, CPU seconds"
    print(f"\n`{options.preset}`, one volume, {precision_name(device)}, {name}, {datetime.now(UTC):%Y-%m-%d}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
