"""What segments brains for the evaluation: the built-in mixture, or FreeSurfer's SynthSeg if installed."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_mmh.evaluation.metrics.overlap import TISSUES
from bids_mmh.evaluation.synthseg import SYNTHSEG_TISSUES, segment_with_synthseg
from bids_mmh.evaluation.tissues import segment_tissues

COMMAND = "mri_synthseg"

Volumes = Sequence[NDArray[Any]]
Labels = list[NDArray[np.uint8]]


class Segmenter(Protocol):
    """Labels the tissues of brains on one grid."""

    @property
    def name(self) -> str:
        """What it is called on pages and in tables."""

    @property
    def tissues(self) -> Mapping[str, int]:
        """Name of each tissue to its label."""

    def segment(self, volumes: Volumes, mask: NDArray[np.bool_]) -> Labels:
        """Label versions of one brain.

        Args:
            volumes: Scaled intensities, background -1, shape (x, y, z) each.
            mask: The brain mask they share.

        Returns:
            Labels on the same grid, 0 outside the mask.

        Raises:
            BadDataError: If one of them cannot be segmented.
        """


@dataclass(frozen=True, eq=False)
class BuiltInSegmenter:
    """The mixture of :mod:`bids_mmh.evaluation.tissues`, on any grid of the model's box."""

    name: str = "built-in"

    @property
    def tissues(self) -> Mapping[str, int]:
        """See :class:`Segmenter`."""
        return TISSUES

    def segment(self, volumes: Volumes, mask: NDArray[np.bool_]) -> Labels:
        """See :class:`Segmenter`."""
        return [segment_tissues(volume, mask) for volume in volumes]


@dataclass(frozen=True, eq=False)
class SynthSegSegmenter:
    """FreeSurfer's ``mri_synthseg`` (Billot et al. 2023, doi:10.1016/j.media.2023.102789).

    Attributes:
        executable: The program.
        affine: Of the grid, from voxels to RAS+ mm.
        threads: CPU threads.
    """

    executable: Path
    affine: NDArray[np.float64]
    threads: int = 1
    name: str = "SynthSeg"

    @property
    def tissues(self) -> Mapping[str, int]:
        """See :class:`Segmenter`."""
        return SYNTHSEG_TISSUES

    def segment(self, volumes: Volumes, mask: NDArray[np.bool_]) -> Labels:
        """See :class:`Segmenter`."""
        return segment_with_synthseg(
            volumes, mask, affine=self.affine, executable=self.executable, threads=self.threads
        )


def synthseg_executable() -> Path | None:
    """``mri_synthseg``, where it is on the path."""
    found = shutil.which(COMMAND)
    return Path(found) if found else None


def find_segmenter(affine: ArrayLike, *, threads: int = 1) -> Segmenter:
    """Take SynthSeg where ``mri_synthseg`` is on the path, else the built-in segmentation.

    Args:
        affine: Of the model's grid, from voxels to RAS+ mm.
        threads: CPU threads for SynthSeg.
    """
    found = synthseg_executable()
    return (
        SynthSegSegmenter(found, np.asarray(affine, dtype=np.float64), threads)
        if found
        else BuiltInSegmenter()
    )
