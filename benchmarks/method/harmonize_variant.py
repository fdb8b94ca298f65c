"""Harmonize preprocessed scans with a model and write them as ``table.py`` reads them.

``python benchmarks/method/harmonize_variant.py MODEL DERIVATIVES FOLDER [--subjects LABEL ...] [--stage 1]``
writes ``FOLDER/<stem>.npy`` (float16, scaled units, background -1) on the model's grid.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.data.volume_cache import VolumeCache


def harmonize_scans(
    model: Harmonizer, scans: Sequence[DerivedScan], folder: Path, *, cache: Path, stage: int | None = None
) -> None:
    """Write the harmonized version of each scan into ``folder``.

    Args:
        model: on any device.
        scans: preprocessed scans.
        folder: made if needed.
        cache: folder of the scans on the model's grid.
        stage: 1 to stop in the unified domain.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    volumes = VolumeCache(scans, model.config, cache)
    for index, scan in enumerate(scans):
        item = volumes[index].to(device)
        result = model(item.image, item.mask, item.sequence, stage=stage)
        values = result[0, 0].float().cpu().numpy()
        np.save(folder / f"{scan.image.name.removesuffix('.nii.gz')}.npy", values.astype(np.float16))


def main(argv: Sequence[str] | None = None) -> int:
    """Harmonize what the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("derivatives", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", nargs="+", metavar="LABEL", help="default: all")
    parser.add_argument("--stage", type=int, choices=(1,), help="1: stop in the unified domain")
    options = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Harmonizer.from_pretrained(options.model, device)
    scans = find_scans([options.derivatives], model.config.sequences)
    wanted = {f"sub-{label.removeprefix('sub-')}" for label in options.subjects or ()}
    chosen = [scan for scan in scans if not wanted or scan.subject in wanted]
    harmonize_scans(
        model, chosen, options.folder, cache=options.folder.parent / "volumes", stage=options.stage
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
