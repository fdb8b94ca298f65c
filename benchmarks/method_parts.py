"""What ``method_table.py`` measures and ``method_figures.py`` draws: the methods of one sequence."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_mmh.evaluation.comparison import Outputs, PairFigures, StudyFigures
from bids_mmh.evaluation.scans import Scan


class Method(NamedTuple):
    """What one method made of the test scans, and its figures."""

    outputs: Outputs
    features: NDArray[np.float32]
    pairs: list[PairFigures]
    study: StudyFigures


@dataclass(frozen=True)
class Part:
    """One sequence of the study: test scans, travelling pairs, and all methods by name."""

    sequence: str
    target: str
    scans: list[Scan]
    pairs: list[tuple[Scan, Scan]]
    methods: dict[str, Method]
    main: str | None
    stand_ins: dict[str, int]
