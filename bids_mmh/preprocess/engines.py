"""The programs that can find a brain, and what each needs to run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.preprocess import brain

if TYPE_CHECKING:
    import SimpleITK

ENGINES = ("builtin", "synthstrip", "freesurfer")


@dataclass(frozen=True)
class BrainExtractor:
    """A program that finds the brain in a head.

    Attributes:
        name: what reports and sidecars call it.
        find: takes a RAS working image, a folder for temporary files and a number of CPU threads; returns a
            uint8 mask on the image's voxels, or raises ``BadDataError``.
    """

    name: str
    find: "Callable[[SimpleITK.Image, Path, int], SimpleITK.Image]"


def _deepbet(image: "SimpleITK.Image", work_dir: Path, threads: int) -> "SimpleITK.Image":
    return brain.deepbet_mask(image, work_dir, threads)


DEEPBET = BrainExtractor("deepbet", _deepbet)


def brain_extractor(engine: str, weights: Path | None = None) -> BrainExtractor:
    """Return the brain extractor of an engine.

    Args:
        engine: ``builtin``, ``synthstrip`` or ``freesurfer``.
        weights: SynthStrip's weights; for that engine only.
    """
    from functools import partial

    if engine == "synthstrip":
        from bids_mmh.preprocess.synthstrip import check_weights, synthstrip_mask

        return BrainExtractor("SynthStrip", partial(synthstrip_mask, weights=check_weights(weights)))
    if engine == "freesurfer":
        from bids_mmh.preprocess.freesurfer import freesurfer_mask

        return BrainExtractor("FreeSurfer mri_synthstrip", freesurfer_mask)
    return DEEPBET


def check_engine(engine: str, weights: Path | None = None) -> None:
    """See, before hours of work, that an engine can run.

    Raises:
        UsageError: SynthStrip has no weights, or FreeSurfer is not installed.
        NoInputError: the weights do not exist.
        BadDataError: they are not SynthStrip's.
    """
    if engine == "synthstrip":
        from bids_mmh.preprocess.synthstrip import check_weights

        check_weights(weights)
    elif engine == "freesurfer":
        from bids_mmh.preprocess.freesurfer import check_freesurfer

        check_freesurfer()
