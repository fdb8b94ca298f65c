"""Repeat scans of a subject before and after harmonization: are they nearer to each other?

``python benchmarks/method/repeats.py OUT_DIR`` takes the output of ``participant`` on a dataset in which some
subjects have several sessions, and prints a row for each pair of sessions, sequence and version. PSNR falls
when contrast is raised, for noise rises with it; the last two columns do not: the root mean square difference
in units of the step from grey to white matter, and the mean Dice of the tissues found in the two scans.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
from embedded_model import SEQUENCES, read_scan
from numpy.typing import NDArray

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import BidsMmhError
from bids_mmh.evaluation.metrics.overlap import overlap
from bids_mmh.evaluation.metrics.similarity import similarity
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.evaluation.tissues import GREY_MATTER, WHITE_MATTER, segment_tissues
from bids_mmh.training.data.scans import find_scans

HEADER = (
    "| scans | version | PSNR (dB) | SSIM | WD | PCC | difference / step | Dice |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|\n"
)


def main(argv: Sequence[str]) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out_dir", type=Path)
    options = parser.parse_args(argv)
    try:
        found = sorted(find_scans([options.out_dir], SEQUENCES), key=_series)
        sys.stdout.write(HEADER)
        for _, sessions in groupby(found, key=lambda scan: _series(scan)[:2]):
            for first, second in combinations(list(sessions), 2):
                sys.stdout.writelines(rows(read_scan(first), read_scan(second)))
    except BidsMmhError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.code)
    return 0


def _series(scan: DerivedScan) -> tuple[str, str, str]:
    """Scans of one sequence and subject follow each other, session by session."""
    return scan.sequence, scan.subject, scan.image.name


def rows(first: ScanArrays, second: ScanArrays) -> Iterator[str]:
    """One row for raw, scaled linearly, and one for harmonized scans."""
    mask = first.mask & second.mask
    versions = {"raw": (first.preproc, second.preproc), "MMH": (first.harmonized, second.harmonized)}
    for name, (one, other) in versions.items():
        s = similarity(one, other, mask)
        pair = f"{first.name.split('_space-')[0]}, {second.name.split('_space-')[0]}, {first.sequence}"
        labels = [segment_tissues(image, mask) for image in (one, other)]
        step = np.mean([tissue_step(x, found) for x, found in zip((one, other), labels, strict=True)])
        difference = np.sqrt(np.mean((one - other)[mask] ** 2)) / step
        dice = np.mean([tissue.dice for tissue in overlap(*labels).values()])
        figures = f"{s.psnr:.2f} | {s.ssim:.3f} | {s.wd:.4f} | {s.pcc:.3f} | {difference:.2f} | {dice:.3f}"
        yield f"| {pair} | {name} | {figures} |\n"


def tissue_step(image: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """Distance of the medians of grey and white matter."""
    grey, white = (np.median(image[labels == tissue]) for tissue in (GREY_MATTER, WHITE_MATTER))
    return float(abs(white - grey))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
