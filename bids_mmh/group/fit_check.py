"""Is a model that was fine-tuned to a site better than the same networks without fine-tuning?

The style of a site is known without training (:mod:`bids_mmh.group.transfer`): what Stage II costs has to be
worth more than that. Both bring scans of validation subjects from other sites to the target.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.group.transfer import on_grid, styles_of

if TYPE_CHECKING:
    from torch import Tensor

    from bids_mmh.method.harmonizer import Harmonizer

logger = logging.getLogger(__name__)

MOST_SCANS = 6  # of a sequence: each is harmonized twice
LEAST_ANATOMY = 0.005  # a nearer style is no gain where more than this of the anatomy preservation is lost


@dataclass(frozen=True)
class Closeness:
    """How near a model brings scans to the target site, means over the scans of a sequence.

    Attributes:
        wd: Wasserstein distance between a result's histogram and the mean one of the site, without the
            scan's own subject; scaled intensities.
        anatomy: anatomy preservation, at most 1.
    """

    wd: float
    anatomy: float


@dataclass(frozen=True)
class FitCheck:
    """A fine-tuned model beside the same networks without fine-tuning, for one sequence.

    Attributes:
        sequence: BIDS suffix.
        scans: number of scans that were brought to the site.
        fitted: by the fine-tuned model.
        untrained: by the networks that it began with, to the mean style of the site.
    """

    sequence: str
    scans: int
    fitted: Closeness
    untrained: Closeness

    @property
    def is_better(self) -> bool:
        """Whether fine-tuning brought the scans nearer, and kept the anatomy."""
        kept = self.fitted.anatomy >= self.untrained.anatomy - LEAST_ANATOMY
        return kept and self.fitted.wd < self.untrained.wd

    @property
    def sentence(self) -> str:
        """What was found, for the log and the model card."""
        figures = (
            f"{self.sequence}, {self.scans} validation scans: distance to the target's histogram "
            f"{self.fitted.wd:.4f} fine-tuned, {self.untrained.wd:.4f} without; anatomy preserved "
            f"{self.fitted.anatomy:.3f} and {self.untrained.anatomy:.3f}."
        )
        if self.is_better:
            return figures
        return f"{figures} Fine-tuning is NOT better: use `group --target-site` without `--fit`."


def check_fit(
    folder: Path,
    scans: Sequence[DerivedScan],
    site: str,
    validation: Collection[str],
    *,
    device: str = "cpu",
) -> list[FitCheck]:
    """Compare a fine-tuned model with the same networks without fine-tuning.

    Args:
        folder: of the fine-tuned model.
        scans: preprocessed scans of the study but of the subjects that test.
        site: the target site.
        validation: subjects, with ``sub-``, that the training did not learn from.
        device: where the models run.

    Returns:
        One for each sequence of which a validation subject was scanned elsewhere; each is logged too.
    """
    from bids_mmh.method.harmonizer import Harmonizer

    fitted = Harmonizer.from_pretrained(folder, device)
    there = [scan for scan in scans if scan.fields.site == site]
    untrained = fitted.towards(site, styles_of(fitted, there)).to(device)
    found = []
    for sequence in fitted.config.sequences:
        sources = [
            scan
            for scan in scans
            if scan.sequence == sequence and scan.fields.site != site and scan.subject in validation
        ][:MOST_SCANS]
        if sources:
            check = FitCheck(
                sequence, len(sources), *(_closeness(m, untrained, sources) for m in (fitted, untrained))
            )
            (logger.info if check.is_better else logger.warning)("%s", check.sentence)
            found.append(check)
    return found


def _closeness(model: "Harmonizer", goal: "Harmonizer", scans: Sequence[DerivedScan]) -> Closeness:
    """How near a model brings scans to the styles that ``goal`` holds."""
    rows = np.array(list(_rows(model, goal, scans)))
    wd, anatomy = rows.mean(axis=0)
    return Closeness(float(wd), float(anatomy))


def _rows(
    model: "Harmonizer", goal: "Harmonizer", scans: Sequence[DerivedScan]
) -> Iterator[tuple[float, float]]:
    from bids_mmh.evaluation.metrics.anatomy import anatomy_preservation
    from bids_mmh.method.style.statistics import style_statistics, wasserstein

    for scan in scans:
        volume, mask, index = on_grid(model, scan)
        result = model(volume, mask, index, subject=scan.subject)
        style = style_statistics(result, mask, model.config.bins)
        target = goal.domain(index, scan.subject)
        distance = float(wasserstein(style.histogram, target.histogram).mean())
        yield distance, anatomy_preservation(_array(volume), _array(result), _array(mask))


def _array(volume: "Tensor") -> np.ndarray:
    return np.asarray(volume[0, 0].cpu().numpy())
