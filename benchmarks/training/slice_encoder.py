"""Does a slice encoder see acquisitions rather than subjects? Figures for its card, on travelling subjects.

``python benchmarks/training/slice_encoder.py OUT_DIR [--encoders embedded random]``, where OUT_DIR is the
output of ``bids-mmh BIDS_DIR OUT_DIR participant --preproc-only`` on a dataset whose subjects were scanned at
several sites, and none of whose scans the encoder was trained on.

Separation is the mean cosine distance between different sites of one subject over that within one site across
subjects, per sequence; above 1 is right. It is given for embeddings of the scans, and for style vectors: the
scan's embedding less that of its z-scored self, a stand-in for the globally harmonized one.
"""

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import BidsMmhError
from bids_mmh.method.encoder.slices import load_encoder
from bids_mmh.method.encoder.tpa_clip import TriPlanarConfig, TriPlanarEncoder
from bids_mmh.method.style.losses import Separation, separation
from bids_mmh.method.style.statistics import to_style
from bids_mmh.training.data.scans import find_scans, load_on_grid

SEQUENCES = ("T1w", "T2w")
STANDARD = torch.tensor([[0.0, 0.4]])  # mean and standard deviation of the z-scored scans
HEADER = "| Encoder | Sequence | Pooling | Separation of scans | of style vectors | their length |"


def main(argv: Sequence[str]) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("derivatives", type=Path)
    parser.add_argument("--encoders", nargs="+", default=["embedded", "random"])
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        print(f"{HEADER}\n| --- | --- | --- | --- | --- | --- |")
        for which in options.encoders:
            for line in rows(which, options.derivatives):
                print(line, flush=True)
    except BidsMmhError as error:
        print(f"slice_encoder: {error}", file=sys.stderr)
        return int(error.code)
    print(f"\n{platform.machine()} {platform.system()}, one thread, {datetime.now(UTC):%Y-%m-%d}.")
    return 0


@torch.no_grad()
def rows(which: str, derivatives: Path) -> Iterator[str]:
    """Lines of the table for one encoder."""
    encoder = load_encoder(which)
    torch.manual_seed(0)  # of the untrained aggregator
    poolings = {
        "mean of axial slices": TriPlanarEncoder(encoder, TriPlanarConfig(aggregation="axial_mean")),
        "untrained attention": TriPlanarEncoder(encoder),
    }
    for sequence in SEQUENCES:
        scans = find_scans([derivatives], [sequence])
        pairs = [read(scan) for scan in scans]
        for pooling, model in poolings.items():
            embedded = [(model(raw, mask), model(standard, mask)) for raw, standard, mask in pairs]
            raw, standard = (torch.cat(part) for part in zip(*embedded, strict=True))
            of_scans, of_styles = (score(vectors, scans) for vectors in (raw, raw - standard))
            yield (
                f"| {which} | {sequence} | {pooling} | {of_scans.ratio:.2f} | {of_styles.ratio:.2f} "
                f"| {of_styles.norm:.2f} |"
            )


def read(scan: DerivedScan) -> tuple[Tensor, Tensor, Tensor]:
    """A scan, its z-scored self and its mask, each (1, 1, H, W, D)."""
    shape = nib.load(scan.image).shape
    volume = torch.from_numpy(load_on_grid(scan, shape).astype(np.float32))[None, None]
    mask = volume > -1
    return volume, to_style(volume, mask, STANDARD), mask


def score(vectors: Tensor, scans: Sequence[DerivedScan]) -> Separation:
    """Separation of one sequence's vectors (N, D) by site and subject."""
    return separation(vectors, [scan.site for scan in scans], [scan.subject for scan in scans])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
