"""How well the anatomical change of a scan finds what should not happen: planted changes, and none.

``python benchmarks/method/anatomical_change.py ANATOMIES [--model FOLDER] [--cache DIR]``

Harmonized held-out heads (:mod:`heldout_heads`) get a change planted: a lesion erased or invented, a border
shifted, a blur. Prints the number of each, and the share that lies beyond the threshold.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from heldout_heads import HEADS, SCANNERS
from heldout_study import GRID, Float, as_scan, cached, harmonized, to_target
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from bids_mmh.evaluation.metrics.anatomical_change import (
    THRESHOLD,
    anatomical_change,
    anatomical_change_map,
)
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.model_files import embedded_folder

RADIUS_MM = (3.0, 5.0, 8.0)


def main(argv: Sequence[str]) -> int:
    """Plant, measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("--model", type=Path, default=embedded_folder())
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--scanners", nargs="+", default=[name for name in SCANNERS if name != "C"])
    parser.add_argument("--sequences", nargs="+", default=["T1w", "T2w"])
    options = parser.parse_args(argv)
    model = Harmonizer.from_pretrained(options.model)
    found: dict[str, list[float]] = {}
    for sequence in options.sequences:
        scans = [
            as_scan(cached(options.cache, options.anatomies, head, name, sequence))
            for head in HEADS
            for name in SCANNERS
            if name == "C" or (head == HEADS[1] and name in options.scanners)
        ]
        towards = to_target(model, scans)
        for one in (s for s in scans if s.subject == HEADS[1] and s.site != "C"):
            rng = np.random.default_rng([5, *one.name.encode()])
            for name, before, after in planted(one.preproc, one.mask, towards, one, rng):
                change = anatomical_change_map(before, after, one.mask)
                found.setdefault(f"{sequence} {name}", []).append(anatomical_change(change, one.mask))
    sys.stdout.write(
        f"\n| planted | number: lowest | median | highest | beyond {THRESHOLD} |\n|---|---:|---:|---:|---:|\n"
    )
    for name, values in found.items():
        share = np.mean(np.array(values) > THRESHOLD)
        row = f"| {name} | {min(values):.3f} | {np.median(values):.3f} | {max(values):.3f} | {share:.0%} |\n"
        sys.stdout.write(row)
    return 0


def planted(before: Float, mask: NDArray[np.bool_], model: Harmonizer, one, rng):  # noqa: ANN001, ANN201
    """(name, scan before, scan after) of every planted change of one scan."""
    after = harmonized(model, one)
    yield "nothing", before, after
    bright = after > 0.4 if one.sequence == "T1w" else after < -0.5
    white = np.argwhere(gaussian_filter((bright & mask).astype(np.float32), 4) > 0.9)
    place = white[rng.integers(len(white))]
    grid = np.indices(mask.shape, dtype=np.float32)
    distance = np.sqrt(sum((g - p) ** 2 for g, p in zip(grid, place, strict=True)))
    sign = -1.0 if one.sequence == "T1w" else 1.0
    for radius in RADIUS_MM:
        blob = 0.7 * sign * mask / (1 + np.exp(np.minimum(3 * (distance - radius), 50)))
        yield f"lesion invented, {radius:g} mm", before, after + blob.astype(np.float32)
        yield f"lesion erased, {radius:g} mm", before + blob.astype(np.float32), after
    for amount in (1.0, 2.0):
        moved = [g + amount * np.exp(-((distance / 20) ** 2)) * (axis == 1) for axis, g in enumerate(grid)]
        shifted = np.where(mask, map_coordinates(after, moved, order=1, mode="nearest"), -1).astype(
            np.float32
        )
        yield f"borders shifted {amount:g} mm around a place", before, shifted
    for sigma in (1.0, 2.0):
        weight = np.maximum(gaussian_filter(mask.astype(np.float32), sigma), 1e-3)
        blurred = gaussian_filter(np.where(mask, after, 0), sigma) / weight
        yield f"blur of {sigma:g} mm", before, np.where(mask, blurred, -1).astype(np.float32)


if __name__ == "__main__":
    assert GRID.spacing == 1.0
    sys.exit(main(sys.argv[1:]))
