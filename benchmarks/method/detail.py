"""Where the network works, and how its change comes to the scan: at 1 mm, or at 2 mm and carried over.

``python benchmarks/method/detail.py ANATOMIES [--models FOLDER …] [--cache DIR] [--heads head12]
[--scanners A B E]``

Held-out heads (:mod:`heldout_heads`) go to the target scanner by each model, on the grid that its network was
trained on. A change found on a coarser grid than the scan's is interpolated and *added*, as the product does,
or *guided*: as the affine function of the start's intensity around every voxel that explains the change (the
fast guided filter, He and Sun 2015, arXiv:1505.00996). Means over the pairs; seconds are those of the network
and the transfer.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from heldout_heads import HEADS, SCANNERS, TARGET
from heldout_study import Row, as_scan, cached, mean_row, pair_row, to_target
from torch import Tensor

from bids_mmh.evaluation.metrics.anatomical_change import anatomical_change, anatomical_change_map
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.method.harmonizer import MARGIN, Anchor, Harmonizer, Styled
from bids_mmh.method.linear import enlarged
from bids_mmh.method.model_files import embedded_folder
from bids_mmh.method.padding import BACKGROUND, brain_box, crop_to
from bids_mmh.method.precision import fast_autocast
from bids_mmh.method.style.statistics import StyleStatistics

WINDOW = 5  # cells along a window of the guided filter
RIDGE = 1e-3  # variance below which a window says nothing of a slope


def main(argv: Sequence[str]) -> int:
    """Measure and print one table a sequence; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("--models", type=Path, nargs="+", default=[embedded_folder()])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=["head12"])
    sources = [name for name in SCANNERS if name != TARGET]
    parser.add_argument("--scanners", nargs="+", choices=sources, default=sources)
    options = parser.parse_args(argv)
    for sequence in ("T1w", "T2w"):
        scans = [
            as_scan(cached(options.cache, options.anatomies, head, name, sequence))
            for head in HEADS
            for name in SCANNERS
            if name == TARGET or (head in options.heads and name in options.scanners)
        ]
        rows: dict[str, list[Row]] = {}
        for folder in options.models:
            measure(to_target(Harmonizer.from_pretrained(folder), scans), folder.name, scans, rows)
        print(f"\n**{sequence}**\n\n| network | PSNR | SSIM | anatomical change | CPU s |")
        print("|---|---:|---:|---:|---:|")
        for name, each in rows.items():
            row = mean_row(each)
            figures = f"{row['PSNR']:.2f} | {row['SSIM']:.4f} | {row['change']:.3f} | {row['s']:.1f}"
            print(f"| {name} | {figures} |", flush=True)
    return 0


def measure(model: Harmonizer, name: str, scans: Sequence[ScanArrays], rows: dict[str, list[Row]]) -> None:
    """Add the figures of every pair to ``rows``, by the way that the change came to the scan."""
    answers = {one.subject: one for one in scans if one.site == TARGET}
    for one in (scan for scan in scans if scan.site != TARGET):
        for way, image, seconds in versions(model, one):
            change = anatomical_change_map(one.preproc, image, one.mask)
            row = {"change": anatomical_change(change, one.mask), "s": seconds}
            rows.setdefault(f"{name}, {way}", []).append(pair_row(image, answers[one.subject]) | row)


@torch.inference_mode()
def versions(model: Harmonizer, one: ScanArrays) -> Iterator[tuple[str, np.ndarray, float]]:
    """(way, harmonized scan, seconds of the network and of the transfer)."""
    volume, mask = (torch.from_numpy(values)[None, None] for values in (one.preproc, one.mask))
    sequence = torch.tensor([model.sequence_index(one.sequence)])
    coarsening = model.config.coarsening
    with fast_autocast(volume.device):
        anchor = model.anchor(volume, mask, sequence)
        style = model.domain(sequence, one.subject)
        box = brain_box(anchor.mask, MARGIN, coarsening * model.config.network.multiple)
        whole = model.start(volume, anchor, style, box)
        start, near = Styled(whole.value[box], whole.style), anchor.crop(box, coarsening)
        size = f"at {coarsening * model.config.spacing:g} mm"
        ways: dict[str, Callable[[], Tensor]] = {
            "no network": lambda: start.value,
            size: lambda: model.corrected(model.network, start, near, style),
        }
        if coarsening > 1:
            ways[f"{size}, guided"] = lambda: guided(model, start, near, style)
        for way, work in ways.items():
            began = time.process_time()
            changed = work()
            seconds = time.process_time() - began
            result = torch.full_like(volume, BACKGROUND)
            result[box] = torch.where(near.mask, changed, BACKGROUND)
            yield way, result[0, 0].numpy(), seconds


def guided(model: Harmonizer, start: Styled, anchor: Anchor, style: StyleStatistics) -> Tensor:
    """The start with the change as an affine function of the start around every voxel."""
    coarse, there = model.on_network_grid(start, anchor)
    mask, found = there.mask, model.change(model.network, coarse, there, style)

    def mean(values: Tensor) -> Tensor:
        counted = F.avg_pool3d(torch.where(mask, values, 0.0), WINDOW, 1, WINDOW // 2)
        return counted / F.avg_pool3d(mask.float(), WINDOW, 1, WINDOW // 2).clamp(min=1e-3)

    x, y = mean(coarse.value), mean(found)
    covariance = mean(coarse.value * found) - x * y
    slope = covariance / (mean(coarse.value.square()) - x.square() + RIDGE)
    offset = y - slope * x
    whole = [side * model.config.coarsening for side in mask.shape[2:]]
    slope, offset = (crop_to(enlarged(mean(v), whole), tuple(start.value.shape)) for v in (slope, offset))
    return start.value + slope * start.value + offset


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
