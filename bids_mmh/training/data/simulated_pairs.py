"""Simulated pairs as training items: a scan on its way to another scanner's style, and the right answer.

Each small study (:mod:`bids_mmh.synthesis.study`) gives every ordered pair of its scanners for every
subject. The style to be in is that of *another* subject at the target scanner: at inference nobody has seen
the same subject there.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import torch
from torch import Tensor

from bids_mmh.method.denoise import noise_level, without_noise
from bids_mmh.method.diffusion.gradient import gradient_map
from bids_mmh.method.network_grid import coarse_box, coarse_brain, coarse_mask
from bids_mmh.method.padding import BACKGROUND, brain_box
from bids_mmh.method.style.statistics import StyleStatistics, style_statistics
from bids_mmh.method.style.tissue_style import knot_maps, map_through, mapped_statistics
from bids_mmh.method.style.tissues import default_priors, priors_on_grid, segment
from bids_mmh.synthesis.anatomies import Anatomy
from bids_mmh.synthesis.study import SimulatedStudy, simulate_study
from bids_mmh.training.seeds import draw_seed

MOST_TRIES = 20
LEAST_BRAIN = 0.25  # of a crop
READ_AHEAD = 48  # items: a study is made while those of the one before are trained on
KEPT = 2  # studies in memory: parts of a step may lie in two


@dataclass(frozen=True)
class SimulatedPair:
    """A crop of what the network starts from, and the same brain at the target scanner; on its grid.

    Attributes:
        image: (1, 1, h, w, d) the scan without its noise, after the landmark map; for an unchanged style
            without the map.
        target: what it should become: the target scanner's image before noise.
        mask: brain mask.
        gradient: gradient map of the whole scan, cropped.
        own: style of ``image``.
        style: style to be in.
        seen: style of the scan before the map, that the records average.
        sequence: (1,) sequence index.
    """

    image: Tensor
    target: Tensor
    mask: Tensor
    gradient: Tensor
    own: StyleStatistics
    style: StyleStatistics
    seen: StyleStatistics
    sequence: Tensor

    def to(self, device: torch.device) -> "SimulatedPair":
        """The same pair on ``device``."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return SimulatedPair(
            image=moved(self.image),
            target=moved(self.target),
            mask=moved(self.mask),
            gradient=moved(self.gradient),
            own=self.own.map(moved),
            style=self.style.map(moved),
            seen=self.seen.map(moved),
            sequence=moved(self.sequence),
        )

    def pin_memory(self) -> "SimulatedPair":
        """The pair as it is: its crops are small."""
        return self


@dataclass(frozen=True)
class _Scan:
    """A simulated scan with what every pair of it needs.

    Attributes:
        quiet: the scan, its noise filtered out.
        clean: the scan before there was noise; like ``gradient`` on the network's grid.
        gradient: gradient map of the scan.
        style: of the scan.
        knots: local medians of its tissues.
    """

    quiet: Tensor
    clean: Tensor
    gradient: Tensor
    style: StyleStatistics
    knots: Tensor


class SimulatedPairs:
    """Pairs by (step, part), from studies that are made when they are first needed.

    Which study, pair and crop an item is follows from its position and the seed alone.

    Args:
        anatomies: files to draw subjects from, or what was read from them to ``device``, by kind.
        sequences: BIDS suffixes of the model, which take turns.
        seed: of everything.
        accumulate: items a step.
        crop: side of a crop in voxels of the network, a multiple of 8.
        crops: crops of each pair before the next study is made.
        subjects: of a study, at least two.
        scanners: of a study, at least two.
        unchanged: share of items whose style stays, so that inversion has seen such.
        bins: of the histograms.
        coarsening: voxels of 1 mm along the edge of a voxel of the network.
        denoise: strength of the noise filter before the network.
        device: where to simulate.
    """

    def __init__(
        self,
        anatomies: Sequence[Sequence[Path | Anatomy]],
        sequences: Sequence[str],
        seed: int,
        *,
        accumulate: int,
        crop: int = 80,
        crops: int = 3,
        subjects: int = 2,
        scanners: int = 3,
        unchanged: float = 0.15,
        bins: int = 100,
        coarsening: int = 1,
        denoise: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.anatomies, self.sequences, self.seed = anatomies, list(sequences), seed
        self.accumulate, self.crop, self.crops = accumulate, crop, crops
        self.subjects, self.scanners, self.unchanged = subjects, scanners, unchanged
        self.bins, self.coarsening, self.denoise = bins, coarsening, denoise
        self.device = torch.device(device)
        self.read_ahead = READ_AHEAD
        self._studies: OrderedDict[int, tuple[SimulatedStudy, list[list[_Scan]]]] = OrderedDict()

    @property
    def pairs(self) -> list[tuple[int, int, int]]:
        """(subject, scanner, target scanner) of every pair of a study."""
        ordered = permutations(range(self.scanners), 2)
        return [(subject, a, b) for a, b in ordered for subject in range(self.subjects)]

    def __getitem__(self, position: tuple[int, int]) -> SimulatedPair:
        """The pair of part ``part`` of step ``step``."""
        step, part = position
        n = step * self.accumulate + part
        number, within = divmod(n, len(self.pairs) * self.crops)
        study, scans = self._study(number)
        generator = torch.Generator().manual_seed(draw_seed(self.seed, 2, n))
        subject, a, b = self.pairs[_shuffled(self.seed, number, within, len(self.pairs))]
        other = (subject + 1) % self.subjects
        unchanged = float(torch.rand((), generator=generator)) < self.unchanged
        seen = scans[subject][a], scans[subject][b], scans[other][b]
        box = self._box(study.masks[subject], generator)
        return self._pair(study, subject, box, seen, unchanged=unchanged)

    def _pair(
        self,
        study: SimulatedStudy,
        subject: int,
        box: tuple[slice, ...],
        seen: tuple[_Scan, _Scan, _Scan],
        *,
        unchanged: bool,
    ) -> SimulatedPair:
        """A crop of a pair: the scan, the right answer, and another subject's scan at the target scanner."""
        scan, answer, model = seen
        inside, coarse = study.masks[subject][box], coarse_box(box, self.coarsening)
        sequence = torch.tensor([self.sequences.index(study.sequence)], device=inside.device)
        image, target, own, style = scan.quiet[box], answer.clean[coarse], scan.style, model.style
        if unchanged:
            style = own
        else:
            image = torch.where(inside, map_through(image, scan.knots[box], model.knots[box]), BACKGROUND)
            own = replace(own, tissues=mapped_statistics(own.by_tissue, style.by_tissue))
        image = coarse_brain(image, inside, self.coarsening)
        return SimulatedPair(
            image=image,
            target=image if unchanged else target,
            mask=coarse_mask(inside, self.coarsening),
            gradient=scan.gradient[coarse],
            own=own,
            style=style,
            seen=scan.style,
            sequence=sequence,
        )

    def _box(self, mask: Tensor, generator: torch.Generator) -> tuple[slice, ...]:
        box: tuple[slice, ...] = ()
        step, length = 8 * self.coarsening, self.crop * self.coarsening
        for _ in range(MOST_TRIES):
            corner = [
                step * int(torch.randint((side - length) // step + 1, (), generator=generator))
                for side in mask.shape[2:]
            ]
            box = (slice(None), slice(None), *(slice(c, c + length) for c in corner))
            if float(mask[box].float().mean()) >= LEAST_BRAIN:
                break
        return box

    def _study(self, number: int) -> tuple[SimulatedStudy, list[list[_Scan]]]:
        if number not in self._studies:
            sequence = self.sequences[number % len(self.sequences)]
            study = simulate_study(
                self.anatomies,
                sequence,
                draw_seed(self.seed, 1, number),
                subjects=self.subjects,
                scanners=self.scanners,
                device=self.device,
            )
            priors = priors_on_grid(default_priors()[None].to(self.device), study.masks[0].shape[2:])
            scans = [
                [self._measured(scan.image, scan.clean, mask, priors) for scan in seen]
                for mask, seen in zip(study.masks, study.scans, strict=True)
            ]
            self._studies[number] = study, scans
            while len(self._studies) > KEPT:
                self._studies.popitem(last=False)
        return self._studies[number]

    def _measured(self, image: Tensor, clean: Tensor, mask: Tensor, priors: Tensor) -> _Scan:
        style = style_statistics(image, mask, self.bins, segmentation=segment(image, mask, priors))
        quiet, box = image.clone(), brain_box(mask, 0, 1)
        noise = noise_level(style.by_tissue.detail)
        quiet[box] = without_noise(image[box], mask[box], noise, self.denoise)
        coarse, answer = (coarse_brain(one, mask, self.coarsening) for one in (image, clean))
        return _Scan(quiet, answer, gradient_map(coarse), style, knot_maps(style.by_tissue, image.shape))


def _shuffled(seed: int, number: int, within: int, count: int) -> int:
    """The pair that comes at place ``within`` of a study: all pairs once, then all in another order."""
    turn, place = divmod(within, count)
    generator = torch.Generator().manual_seed(draw_seed(seed, 3, number, turn))
    return int(torch.randperm(count, generator=generator)[place])
