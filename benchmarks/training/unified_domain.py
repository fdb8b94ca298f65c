"""The unified domain of the embedded model: the mean style of many simulated scanners.

``python benchmarks/training/unified_domain.py RECIPE ANATOMIES MODEL OUT`` writes the model MODEL with new
records to OUT, from anatomies that RECIPE does not hold out. While a network is trained, its records follow
the scans of the last few steps (decay .8), and where they stand at the end is chance: a contrast that few
scanners reach makes every scan's noise larger on the way there. The mean over many lies in their middle.

Simulated brains have nothing darker than their darkest tissue, so that it lies at the lower end of the scaled
intensities; real ones have vessels, iron and membranes there. And simulated contrasts are stronger than most
real ones. So the medians of the domain are chosen: of T1w those of an ordinary MPRAGE at 3 T; of T2w grey
matter .14 of the way from white matter to pure fluid, as relaxation times say (T2 92 and 70 ms, echo time of
about 100 ms), and white matter where it leaves room below.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from bids_mmh.errors import BidsMmhError
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.statistics import StyleStatistics, mean_style, style_statistics
from bids_mmh.method.style.tissue_style import map_through
from bids_mmh.synthesis.anatomies import find_anatomies
from bids_mmh.synthesis.study import simulate_study
from bids_mmh.training.recipe import load_recipe
from bids_mmh.training.seeds import draw_seed

SCANNERS = 4  # of a study, which has one subject
CHOSEN = {  # medians of fluid, grey and white matter
    "T1w": (-0.55, 0.22, 0.65),
    "T2w": (0.42, -0.30, -0.50),
}


def main(argv: Sequence[str]) -> int:
    """Simulate, measure and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--studies", type=int, default=16, help=f"of {SCANNERS} scanners each")
    options = parser.parse_args(argv)
    try:
        held_out = load_recipe(options.recipe).simulation.held_out
        anatomies = find_anatomies(options.anatomies, held_out)
        model = Harmonizer.from_pretrained(options.model)
        for index, sequence in enumerate(model.config.sequences):
            seen = list(styles(model, anatomies, sequence, options.studies))
            kept = [style for style in seen if bool(style.by_tissue.reliable)]
            record = mean_style(kept)
            model.records.assign(index, record)
            medians = ", ".join(f"{value:.2f}" for value in record.by_tissue.median[0])
            sys.stdout.write(f"{sequence}: {len(kept)} of {len(seen)} scans, medians of tissues {medians}\n")
        model.save_pretrained(options.out)
    except BidsMmhError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.code)
    return 0


@torch.inference_mode()
def styles(
    model: Harmonizer, anatomies: Sequence[Sequence[Path]], sequence: str, studies: int
) -> Iterator[StyleStatistics]:
    """Style of every scan of some studies, by the model's own measurement."""
    bins = model.config.bins
    for number in range(studies):
        seed = draw_seed(2029, number)
        study = simulate_study(anatomies, sequence, seed, subjects=1, scanners=SCANNERS)
        mask = study.masks[0]
        for scan in study.scans[0]:
            found = model.segment(scan.image, mask)
            assert found is not None  # a model without tissues has no use for this
            image = torch.where(mask, found.without_gain(scan.image), scan.image)
            style = style_statistics(image, mask, bins, segmentation=found.even)
            if sequence in CHOSEN:
                knots = style.by_tissue.knots[..., None, None, None]
                chosen = torch.tensor(CHOSEN[sequence]).view_as(knots)
                image = torch.where(mask, map_through(image, knots, chosen), image)
                style = style_statistics(image, mask, bins, segmentation=found.even)
            yield style


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
