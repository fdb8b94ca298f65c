"""How fast training volumes come, beside how fast a training step takes them.

``python benchmarks/speed/data_loading.py [--scans N] [--preset lite|paper] [--device auto|cpu|cuda]``

Scans of random intensities in an ellipsoid (1 mm, compressed float32, as the participant level writes them)
are made in a temporary folder, cached on the 1 mm grid, and read back in the order of a run while the system
still has the files in memory.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.training.data.loader import load
from bids_mmh.training.data.scan_order import Order
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.data.volume_cache import VolumeCache
from bids_mmh.training.engine import Compute, make_fabric
from bids_mmh.training.recipe import Augmentation, Phase, Recipe, model_on_grid
from bids_mmh.training.stage1.objective import draw, stage1_losses
from bids_mmh.training.stage1.task import TrainingVolumes

AUGMENTATIONS = {
    "no augmentation": Augmentation(),
    "flip and shift": Augmentation(flip=True, shift=4),
    "all kinds": Augmentation(flip=True, shift=4, rotate=5, scale=0.05, gamma=0.1, noise=0.02, bias=0.05),
}


def write_scans(root: Path, count: int) -> list[DerivedScan]:
    """``count`` T1w scans on the template grid at 1 mm."""
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in (144, 184, 184)), indexing="ij")
    mask = sum(axis**2 for axis in axes) < 0.6  # about as many voxels as a brain
    for i in range(count):
        folder = root / f"sub-{i:02}" / "anat"
        folder.mkdir(parents=True)
        draws = np.random.default_rng(i).normal(900, 250, mask.shape)
        stem = f"sub-{i:02}_space-MNI152NLin2009cAsym_desc-preproc_T1w"
        values = np.where(mask, draws, 0).astype(np.float32)
        nib.save(nib.Nifti1Image(values, np.eye(4)), folder / f"{stem}.nii.gz")
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), folder / "mask.nii.gz")
        sidecar = {"Sequence": "T1w", "Site": "one", "BrainMask": "mask.nii.gz"}
        scaling = {"IntensityScaling": {"Slope": 0.001, "Intercept": -0.9}}
        (folder / f"{stem}.json").write_text(json.dumps({**sidecar, **scaling}))
    return find_scans([root], ["T1w"])


@dataclass(frozen=True)
class Speed:
    """Volumes per second, and what one costs this process (its threads, not its workers) in CPU seconds."""

    volumes_per_second: float
    cpu_seconds: float


@contextmanager
def timed(rows: dict[str, Speed], name: str, volumes: int) -> Iterator[None]:
    """Put the speed of the block into ``rows``."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rows[name] = Speed(volumes / wall, cpu / volumes)


def bench(count: int, preset: str, device: str) -> dict[str, Speed]:
    """Speed of each way to get or to use them."""
    rows: dict[str, Speed] = {}
    fabric = make_fabric(Compute(device))
    config = model_on_grid(PRESETS[preset], 1.0)
    recipe = Recipe(config, (Phase(1.0, steps=1),))
    with tempfile.TemporaryDirectory() as scratch:
        scans = write_scans(Path(scratch) / "derivatives", count)
        for threads in sorted({1, os.cpu_count() or 1}):
            cache = VolumeCache(scans, config, Path(scratch) / f"cache{threads}")
            with timed(rows, f"cold: read, scale and cache, {threads} thread(s)", count):
                cache.build(threads)
        for name, how in AUGMENTATIONS.items():
            read(rows, f"cached, {name}, no workers", planned(cache, how), 0, 3 * count)
        how = AUGMENTATIONS["flip and shift"]
        read(rows, "cached, flip and shift, 2 workers", planned(cache, how), 2, 12 * count)
        volume = cache[0].to(fabric.device)
    model = Harmonizer(config).to(fabric.device).to(memory_format=torch.channels_last_3d)
    network = fabric.setup_module(model.network)
    chosen = replace(draw(volume, recipe, 0), t=torch.tensor([50])).to(fabric.device)
    steps = 10 if fabric.device.type == "cuda" else 1
    for name, repeats in (("warm-up", 1), (f"{preset}: forward and backward at 1 mm", steps)):
        with timed(rows, name, repeats):
            for _ in range(repeats):
                losses = stage1_losses(model, network, volume, chosen, recipe).losses
                fabric.backward(losses.total)
                losses.total.item()  # waits for the device
    del rows["warm-up"]
    return rows


def planned(cache: VolumeCache, how: Augmentation) -> TrainingVolumes:
    """Volumes in the order of a run."""
    return TrainingVolumes(cache, Order(cache.scans, 0), 1, how, (0, 0))


def read(rows: dict[str, Speed], name: str, items: TrainingVolumes, workers: int, volumes: int) -> None:
    """Read ``items``; the clock starts with the first, when the workers are up."""
    drawn = load(items, [(step, 0) for step in range(volumes)], workers=workers, pin=False)
    next(drawn)
    with timed(rows, name, volumes - 1):
        for volume in drawn:
            volume.image[0, 0, 72, 92, 92].item()


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=4)
    parser.add_argument("--preset", default="lite", choices=PRESETS)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    start = time.perf_counter()
    rows = bench(options.scans, options.preset, options.device)
    machine = f"{os.cpu_count()} × {platform.processor() or platform.machine()}"
    if torch.cuda.is_available() and options.device != "cpu":
        machine += f", {torch.cuda.get_device_name()}"
    seconds = time.perf_counter() - start
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {options.scans} scans, {seconds:.0f} s in all\n")
    print("| | volumes/s | CPU s/volume |\n|---|---|---|")
    for name, speed in rows.items():
        print(f"| {name} | {speed.volumes_per_second:.2f} | {speed.cpu_seconds:.3f} |")


if __name__ == "__main__":
    main()
