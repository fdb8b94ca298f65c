"""What surrounds a brain in a label map of a head, and its signals."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bids_mmh.synthesis.regions import FREESURFER, Region
from bids_mmh.synthesis.relaxation import relaxation
from bids_mmh.synthesis.scanner import Scanner, signals

FAT_LEFT = 0.08
"""Of the signal of fat, after saturation."""
HIGHEST_LABEL = 600


@dataclass(frozen=True)
class Surround:
    """A tissue around the brain.

    Attributes:
        labels: its numbers in the label maps.
        t1: longitudinal relaxation time at 3 T in ms.
        t2: transverse relaxation time in ms.
        density: of protons, relative to water.
        fat: share of fat.
    """

    labels: tuple[int, ...]
    t1: float
    t2: float
    density: float
    fat: float = 0.0


SURROUNDS = (
    Surround((507, 511), 600, 60, 0.75, 0.7),  # skin with the fat below it, and what lies between
    Surround((508, 509), 1400, 40, 0.80),  # muscle, mucosa
    Surround((515,), 250, 1, 0.20),  # cortical bone
    Surround((516,), 400, 55, 0.55, 0.6),  # marrow
    Surround((506,), 4200, 1600, 1.0),  # vitreous
    Surround((512, 530), 900, 75, 0.74),  # cord, optic nerve
    Surround((502, 514), 1700, 60, 0.80),  # vessels
)


def head_signals(scanner: Scanner, subject: torch.Generator, *, fat_saturated: bool = False) -> Tensor:
    """Signal of every label of a head at a scanner, relative to white matter.

    Args:
        scanner: where the head is scanned.
        subject: draws the relaxation times of the subject.
        fat_saturated: whether the signal of fat is suppressed.

    Returns:
        (HIGHEST_LABEL + 1,), 0 where a number is no label.
    """
    properties = relaxation(scanner.tesla, subject)
    brain = signals(scanner, properties)
    table = torch.zeros(HIGHEST_LABEL + 1)
    for label, region in FREESURFER.items():
        table[label] = brain[region]
    white = float(scanner.pulse(properties)[Region.WHITE])
    # An echo train refocuses fat: it is as bright as fluid.
    bright = 1.6 if scanner.sequence == "T2w" else 1.4
    fat = FAT_LEFT if fat_saturated else bright
    for tissue in SURROUNDS:
        one = torch.tensor([[tissue.t1], [tissue.t2], [tissue.density]])
        level = float(scanner.pulse(one)) / white
        table[list(tissue.labels)] = (1 - tissue.fat) * level + tissue.fat * fat
    return table
