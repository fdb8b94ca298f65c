"""How a session or a scan is preprocessed."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PreprocessOptions:
    """How to run.

    Attributes:
        omp_nthreads: CPU threads of each step.
        sloppy: fewer iterations on coarser copies; for tests.
        skull_strip: ``auto``, ``force`` or ``skip``, see :mod:`bids_mmh.preprocess.steps.skull_strip`.
        engine: ``builtin``, ``synthstrip`` or ``freesurfer``: what finds the brain; FreeSurfer also aligns.
        synthstrip_weights: for the engine ``synthstrip``.
        in_template_space: the scans lie in the template's space and have no bias field: they are neither
            aligned nor corrected.
    """

    omp_nthreads: int = 1
    sloppy: bool = False
    skull_strip: str = "auto"
    engine: str = "builtin"
    synthstrip_weights: Path | None = None
    in_template_space: bool = False
