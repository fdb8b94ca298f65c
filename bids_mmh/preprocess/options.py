"""Options of the preprocessing of a session or a scan."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PreprocessOptions:
    """Options of the preprocessing.

    Attributes:
        omp_nthreads: CPU threads of each step.
        sloppy: Fewer iterations on coarser copies; for tests.
        skull_strip: ``auto``, ``force`` or ``skip``, see :mod:`bids_mmh.preprocess.steps.skull_strip`.
        engine: ``builtin``, ``deepbet``, ``network``, ``synthstrip`` or ``freesurfer``: program for brain
            extraction; FreeSurfer also registers.
        synthstrip_weights: For the engine ``synthstrip``.
        in_template_space: Whether the scans are already in template space and bias-corrected: they are
            neither registered nor corrected.
    """

    omp_nthreads: int = 1
    sloppy: bool = False
    skull_strip: str = "auto"
    engine: str = "builtin"
    synthstrip_weights: Path | None = None
    in_template_space: bool = False
