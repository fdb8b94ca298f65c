"""Brain masks of the network and of deepbet, against the truth and against each other.

``python benchmarks/preprocessing/brain_masks.py heads LABELS [--heads NAME ...] [--folder DIR]`` takes
held-out heads to eight kinds of scanner (:mod:`travelling_heads`), where the brain is known; it ends as far
below the cerebellum as the masks of both programs.
``python benchmarks/preprocessing/brain_masks.py scans FILE ...`` takes real scans, where it is not: how far
the two programs agree.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import SimpleITK
from measures import dice, surface_distance
from travelling_heads import KINDS, travel

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines.deepbet import deepbet_mask
from bids_mmh.preprocess.engines.mask_network import network_mask
from bids_mmh.preprocess.images import to_array, to_sitk
from bids_mmh.preprocess.pipeline import prepare_head
from bids_mmh.preprocess.steps.brain import volume_ml, without_cord
from bids_mmh.preprocess.steps.finish import resample_nearest
from bids_mmh.synthesis.heads import read_head
from bids_mmh.training.brain_mask.training import MaskRecipe

PROGRAMS: Mapping[str, Callable[[SimpleITK.Image, Path], SimpleITK.Image]] = {
    "network": lambda head, work: network_mask(head, work)[0],
    "deepbet": deepbet_mask,
}


class Found(NamedTuple):
    """Dice, 95th percentile of the distance of the surfaces in mm, volume / true volume, and wall time."""

    dice: float
    surface: float
    volume: float
    seconds: float


def main(argv: Sequence[str]) -> int:
    """Print a table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    heads = commands.add_parser("heads")
    heads.add_argument("labels", type=Path)
    heads.add_argument("--heads", nargs="+", default=list(MaskRecipe().held_out))
    heads.add_argument("--folder", type=Path, help="keep the scans here")
    scans = commands.add_parser("scans")
    scans.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args(argv)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if options.command == "scans":
            rows = agreements(options.files, Path(scratch))
        else:
            rows = truths(options.labels, options.heads, options.folder or Path(scratch))
        for row in rows:
            sys.stdout.write(f"| {' | '.join(row)} |\n")
            sys.stdout.flush()
    return 0


def truths(labels: Path, names: Sequence[str], folder: Path) -> Iterator[tuple[str, ...]]:
    """A row for each kind of scanner and sequence, over the heads."""
    titles = [f"{program}: {what}" for program in PROGRAMS for what in ("Dice", "surface mm", "volume", "s")]
    yield ("scanner", *titles)
    yield ("---",) * (1 + len(titles))
    heads = [read_head(labels / f"{name}_dseg.nii.gz") for name in names]
    for number, kind in enumerate(KINDS):
        travellers = [travel(head, number, 7, folder) for head in heads]
        for suffix in ("T1w", "T2w"):
            cells = []
            for find in PROGRAMS.values():
                found = [
                    measured(find, one.scans[suffix], without_cord(one.brain_mask(suffix)), folder)
                    for one in travellers
                ]
                cells += summary(found)
            yield (f"{kind.name}, {suffix}", *cells)


def measured(
    find: Callable[[SimpleITK.Image, Path], SimpleITK.Image], scan: Path, truth: SimpleITK.Image, work: Path
) -> Found:
    """A program on a scan, as preprocessing calls it; nothing right where it finds no brain."""
    head = read(scan)
    start = time.perf_counter()
    try:
        mask = resample_nearest(without_cord(find(head, work)), truth)
    except BadDataError:
        return Found(0.0, np.inf, 0.0, time.perf_counter() - start)
    seconds = time.perf_counter() - start
    overlap = dice(to_array(mask), to_array(truth))
    return Found(overlap, surface_distance(mask, truth), volume_ml(mask) / volume_ml(truth), seconds)


def read(scan: Path) -> SimpleITK.Image:
    """A scan without its neck."""
    image = nib.as_closest_canonical(nib.Nifti1Image.from_filename(scan))
    return prepare_head(to_sitk(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine)))[0]


def summary(found: Sequence[Found]) -> list[str]:
    """Means, and the worst Dice and surface."""
    mean = Found(*np.mean(found, axis=0))
    worst = min(one.dice for one in found), max(one.surface for one in found)
    return [
        f"{mean.dice:.3f} ({worst[0]:.3f})",
        f"{mean.surface:.1f} ({worst[1]:.1f})",
        f"{mean.volume:.2f}",
        f"{mean.seconds:.1f}",
    ]


def agreements(files: Sequence[Path], work: Path) -> Iterator[tuple[str, ...]]:
    """A row for each scan."""
    yield ("scan", "network ml", "deepbet ml", "Dice of both", "network with its mirror image")
    yield ("---",) * 5
    for file in files:
        head = read(file)
        mask, agreement = network_mask(head, work)
        try:
            other = deepbet_mask(head, work)
        except BadDataError as error:
            yield (file.name, f"{volume_ml(mask):.0f}", str(error), "", f"{agreement:.3f}")
            continue
        overlap = dice(to_array(mask), to_array(other))
        yield (
            file.name,
            *(f"{volume_ml(m):.0f}" for m in (mask, other)),
            f"{overlap:.3f}",
            f"{agreement:.3f}",
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
