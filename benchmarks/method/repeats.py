"""Repeat scans of a subject before and after harmonization: are they nearer to each other?

``python benchmarks/method/repeats.py OUT_DIR`` takes the output of ``participant`` on a dataset in which some
subjects have several sessions, and prints a row for each pair of sessions, sequence and version.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations, groupby
from pathlib import Path

from embedded_model import SEQUENCES, read_scan

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import BidsMmhError
from bids_mmh.evaluation.metrics.similarity import similarity
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.training.data.scans import find_scans

HEADER = "| scans | version | PSNR (dB) | SSIM | WD | PCC |\n|---|---|---:|---:|---:|---:|\n"


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
        yield f"| {pair} | {name} | {s.psnr:.2f} | {s.ssim:.3f} | {s.wd:.4f} | {s.pcc:.3f} |\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
