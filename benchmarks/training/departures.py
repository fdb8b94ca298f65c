"""What departures from the paper do to Stage I.

``python benchmarks/training/departures.py DERIVATIVES FOLDER [--steps N]`` trains the recipe of the phantom
study on the 4 mm grid several times: as built, conditioned on the record alone (Eq. 8 to the letter), with
L_G at one scale, answering in ε alone, and with L_N of samples conditioned on the record in the background
alone. It prints what the averaged models make of the training and validation subjects, without AdaIN at the
output, which would hide the difference. Test subjects (scanned at several sites) are never read.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bids_mmh.evaluation.metrics.anatomy import anatomy_preservation
from bids_mmh.evaluation.metrics.similarity import intensity_histogram, similarity
from bids_mmh.evaluation.metrics.site_distance import site_distances
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.contrast import contrast_loss
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.data.split import travelling_subjects
from bids_mmh.training.data.volume_cache import VolumeCache
from bids_mmh.training.recipe import Recipe, load_recipe, model_on_grid
from bids_mmh.training.run import train

RECIPE = Path(__file__).parents[2] / "recipes" / "phantom_study.toml"


@dataclass(frozen=True)
class Output:
    """A scan before and after: arrays (H, W, D), and what it is."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    mask: NDArray[np.bool_]
    site: str
    sequence: str


def variants(steps: int) -> dict[str, Recipe]:
    """The recipe on the 4 mm grid, as built and with each departure taken back."""
    base = load_recipe(RECIPE)
    model = replace(model_on_grid(base.model, 4.0), intensity_map="none")
    phase = replace(base.phases[0], steps=steps)
    built = replace(base, model=model, phases=(phase,), stage2=None)
    record = replace(model, network=replace(model.network, style_code="record"))
    indirect = replace(model, network=replace(model.network, direct_change=False))
    return {
        "as built": built,
        "conditioned on the record alone": replace(built, model=record),
        "L_G at one scale": replace(built, gradient_scales=1),
        "answers in ε alone": replace(built, model=indirect),
        "no L_N in a moved brain": replace(built, noise_up_to_contrast=False),
    }


def harmonize(model: Harmonizer, volumes: VolumeCache) -> list[Output]:
    """All scans of a cache through Stage I."""
    outputs = []
    for index, scan in enumerate(volumes.scans):
        item = volumes[index]
        after = model(item.image, item.mask, item.sequence)
        before, after, mask = (v[0, 0] for v in (item.image, after, item.mask))
        outputs.append(Output(before.numpy(), after.numpy(), mask.numpy(), scan.site, scan.sequence))
    return outputs


def no_contrast(one: Output) -> float:
    """Root mean square of the part of a change that is no function of intensity."""
    before, after, mask = (torch.from_numpy(v)[None, None] for v in (one.before, one.after, one.mask))
    return float(contrast_loss(before, after, mask).sqrt())


def row(outputs: Sequence[Output], sequence: str, name: str) -> str:
    """One line of the table."""
    chosen = [one for one in outputs if one.sequence == sequence]
    histograms = [intensity_histogram(one.after[one.mask]) for one in chosen]
    distance = site_distances(histograms, [one.site for one in chosen]).inter_site
    anatomy = np.mean([anatomy_preservation(one.before, one.after, one.mask) for one in chosen])
    elsewhere = np.mean([no_contrast(one) for one in chosen])
    alike = np.mean([similarity(one.before, one.after, one.mask).ssim for one in chosen])
    return f"| {sequence} | {name} | {distance:.4f} | {anatomy:.3f} | {alike:.3f} | {elsewhere:.4f} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is not trained yet and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("derivatives", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args(argv)
    rows: dict[str, list[str]] = {"T1w": [], "T2w": []}
    for name, recipe in variants(options.steps).items():
        output = options.folder / name.replace(" ", "_")
        model = train(recipe, [options.derivatives], output)
        scans = find_scans([options.derivatives], recipe.model.sequences)
        read = [scan for scan in scans if scan.subject not in travelling_subjects(scans)]
        outputs = harmonize(model, VolumeCache(read, recipe.model, output / "training" / "cache"))
        for sequence, lines in rows.items():
            if not lines:
                lines.append(row([replace(one, after=one.before) for one in outputs], sequence, "raw"))
            lines.append(row(outputs, sequence, name))
    print(
        "| sequence | Stage I | inter-site WD | anatomy | SSIM to the scan itself | no contrast |\n"
        "|---|---|---:|---:|---:|---:|"
    )
    print("\n".join(line for lines in rows.values() for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
