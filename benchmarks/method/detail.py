"""Where the network works, and how its change comes to the scan: at 1 mm, or at 2 mm and carried over.

``python benchmarks/method/detail.py ANATOMIES [--cache DIR] [--heads head12] [--scanners A B E]``

Held-out heads (:mod:`heldout_heads`) go to the target scanner by the embedded model. Its change of the 1 mm
start is compared with that of the same start at 2 mm, interpolated and *added*, or *guided*: as the affine
function of the start's intensity around every voxel that explains the change at 2 mm (the fast guided filter,
He and Sun 2015, arXiv:1505.00996). Means over the pairs; seconds are those of the network and the transfer.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from heldout_heads import HEADS, SCANNERS, TARGET
from heldout_study import Row, as_scan, cached, pair_row, to_target
from torch import Tensor

from bids_mmh.evaluation.metrics.anatomical_change import anatomical_change, anatomical_change_map
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.method.harmonizer import MARGIN, Anchor, Harmonizer, Styled
from bids_mmh.method.linear import enlarged
from bids_mmh.method.model_files import embedded_folder
from bids_mmh.method.padding import BACKGROUND, brain_box
from bids_mmh.method.precision import fast_autocast
from bids_mmh.method.style.statistics import StyleStatistics

WINDOW = 5  # voxels of 2 mm along a window of the guided filter
RIDGE = 1e-3  # variance below which a window says nothing of a slope


def main(argv: Sequence[str]) -> int:
    """Measure and print one table a sequence; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("anatomies", type=Path)
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
        model = to_target(Harmonizer.from_pretrained(embedded_folder()), scans)
        answers = {one.subject: one for one in scans if one.site == TARGET}
        rows: dict[str, list[Row]] = {}
        for one in (scan for scan in scans if scan.site != TARGET):
            for name, image, seconds in versions(model, one):
                row = pair_row(image, answers[one.subject])
                change = anatomical_change_map(one.preproc, image, one.mask)
                row |= {"change": anatomical_change(change, one.mask), "s": seconds}
                rows.setdefault(name, []).append(row)
        print(f"\n**{sequence}**\n\n| network | PSNR | SSIM | anatomical change | CPU s |")
        print("|---|---:|---:|---:|---:|")
        for name, each in rows.items():
            psnr, ssim, change, s = (
                np.mean([r[key] for r in each]) for key in ("PSNR", "SSIM", "change", "s")
            )
            print(f"| {name} | {psnr:.2f} | {ssim:.4f} | {change:.3f} | {s:.1f} |", flush=True)
    return 0


@torch.inference_mode()
def versions(model: Harmonizer, one: ScanArrays) -> Iterator[tuple[str, np.ndarray, float]]:
    """(name, harmonized scan, seconds of the network and of the transfer) of every way."""
    volume, mask = (torch.from_numpy(values)[None, None] for values in (one.preproc, one.mask))
    sequence = torch.tensor([model.sequence_index(one.sequence)])
    with fast_autocast(volume.device):
        anchor = model.anchor(volume, mask, sequence)
        style = model.domain(sequence, one.subject)
        box = brain_box(anchor.mask, MARGIN, 2 * model.config.network.multiple)
        whole = model.start(volume, anchor, style, box)
        start, near = Styled(whole.value[box], whole.style), anchor.crop(box)
        ways: dict[str, Callable[[], Tensor]] = {
            "none": lambda: start.value,
            "at 1 mm": lambda: model.corrected(model.network, start, near, style),
            "at 2 mm, added": lambda: added(at_2mm(model, start, near, style), start.value),
            "at 2 mm, guided": lambda: guided(at_2mm(model, start, near, style), start.value),
        }
        for name, way in ways.items():
            began = time.process_time()
            changed = way()
            seconds = time.process_time() - began
            result = torch.full_like(volume, BACKGROUND)
            result[box] = torch.where(near.mask, changed, BACKGROUND)
            yield name, result[0, 0].numpy(), seconds


@dataclass(frozen=True)
class Coarse:
    """A start at 2 mm, the network's change of it (0 outside), and the brain mask."""

    start: Tensor
    change: Tensor
    mask: Tensor


def at_2mm(model: Harmonizer, start: Styled, anchor: Anchor, style: StyleStatistics) -> Coarse:
    """Run the network on means of 2×2×2 voxels."""
    inside = F.avg_pool3d(anchor.mask.float(), 2)
    brain = F.avg_pool3d(torch.where(anchor.mask, start.value, 0.0), 2) / inside.clamp(min=1e-3)
    mask = inside > 0.5
    coarse = torch.where(mask, brain, BACKGROUND)
    there = Anchor(mask, model.gradient(coarse), anchor.sequence)
    result = model.corrected(model.network, Styled(coarse, start.style), there, style)
    return Coarse(coarse, torch.where(mask, result - coarse, 0.0), mask)


def added(found: Coarse, start: Tensor) -> Tensor:
    """The start at 1 mm with the change, interpolated."""
    return start + enlarged(found.change, start.shape[2:])


def guided(found: Coarse, start: Tensor) -> Tensor:
    """The start at 1 mm with the change as an affine function of the start around every voxel."""

    def mean(values: Tensor) -> Tensor:
        counted = F.avg_pool3d(torch.where(found.mask, values, 0.0), WINDOW, 1, WINDOW // 2)
        return counted / F.avg_pool3d(found.mask.float(), WINDOW, 1, WINDOW // 2).clamp(min=1e-3)

    x, y = mean(found.start), mean(found.change)
    covariance = mean(found.start * found.change) - x * y
    slope = covariance / (mean(found.start.square()) - x.square() + RIDGE)
    offset = y - slope * x
    slope, offset = (enlarged(mean(values), start.shape[2:]) for values in (slope, offset))
    return start + slope * start + offset


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
