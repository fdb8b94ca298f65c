"""The programs for brain extraction and registration, and what each needs to run."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines.builtin import DEEPBET, NETWORK, any_brain, t1w_brain
from bids_mmh.preprocess.engines.deepbet import deepbet_mask
from bids_mmh.preprocess.options import PreprocessOptions
from bids_mmh.preprocess.steps.brain import FoundBrain

if TYPE_CHECKING:
    import SimpleITK

ENGINES = ("builtin", "deepbet", "network", "synthstrip", "freesurfer")


@dataclass(frozen=True)
class BrainExtractor:
    """A program for brain extraction.

    Attributes:
        name: Name in reports and sidecars.
        extract: Takes a RAS working image, a folder for temporary files and a number of CPU threads; returns
            the brain, or raises ``BadDataError``.
    """

    name: str
    extract: "Callable[[SimpleITK.Image, Path, int], FoundBrain]"

    @classmethod
    def of(
        cls, name: str, mask: "Callable[[SimpleITK.Image, Path, int], SimpleITK.Image]"
    ) -> "BrainExtractor":
        """Make an extractor of a program that finds a mask and has nothing more to say.

        Args:
            name: Name in reports and sidecars.
            mask: As ``extract``, but it returns the uint8 mask alone.

        Returns:
            The extractor.
        """
        return cls(name, lambda image, work_dir, threads: FoundBrain(mask(image, work_dir, threads), name))


BUILTIN = BrainExtractor(NETWORK, any_brain)
BUILTIN_T1W = BrainExtractor(DEEPBET, t1w_brain)


def brain_extractor(
    engine: str, weights: Path | None = None, *, sequence: str | None = None
) -> BrainExtractor:
    """Choose the program for brain extraction.

    Args:
        engine: ``builtin``, ``deepbet``, ``network``, ``synthstrip`` or ``freesurfer``.
        weights: SynthStrip's weights; for that engine only.
        sequence: BIDS suffix of the scan; None if it is not known.

    Returns:
        The extractor of the engine, which may be another for T1w.

    Raises:
        UsageError: If SynthStrip has no weights or is not installed.
        NoInputError: If the weights do not exist.
        BadDataError: If they are not SynthStrip's.
    """
    from functools import partial

    if engine == "synthstrip":
        from bids_mmh.preprocess.engines.synthstrip import check_weights, synthstrip_mask

        return BrainExtractor.of("SynthStrip", partial(synthstrip_mask, weights=check_weights(weights)))
    if engine == "deepbet":
        return BrainExtractor.of(DEEPBET, deepbet_mask)
    if engine == "freesurfer":
        from bids_mmh.preprocess.engines.freesurfer import freesurfer_mask

        return BrainExtractor.of("FreeSurfer mri_synthstrip", freesurfer_mask)
    return BUILTIN_T1W if engine == "builtin" and sequence == "T1w" else BUILTIN


def align_to_template(
    template: "SimpleITK.Image",
    template_mask: "SimpleITK.Image",
    brain: "SimpleITK.Image",
    *,
    work_dir: Path,
    options: PreprocessOptions,
) -> "tuple[SimpleITK.Transform, float | None]":
    """Register a brain to the template with nine degrees of freedom.

    Args:
        template: Template T1w.
        template_mask: Its uint8 brain mask.
        brain: Scan of any contrast, bias-corrected, 0 outside the brain.
        work_dir: Folder for temporary files.
        options: Engine, threads and effort.

    Returns:
        A transform that resamples the brain onto the template, and the mutual information of the two, None
        if the program does not report it.
    """
    from bids_mmh.preprocess.steps.registration.settings import registration_settings
    from bids_mmh.preprocess.steps.registration.template import nine_dof
    from bids_mmh.preprocess.steps.resample import apply_mask

    if options.engine == "freesurfer":
        from bids_mmh.preprocess.engines.freesurfer import coregister

        stripped = apply_mask(template, template_mask)
        threads = options.omp_nthreads
        return coregister(stripped, template_mask, brain, dof=9, work_dir=work_dir, threads=threads), None
    return nine_dof(template, template_mask, brain, registration_settings(sloppy=options.sloppy))


def align_to_anchor(
    anchor: "SimpleITK.Image",
    anchor_mask: "SimpleITK.Image",
    scan: "SimpleITK.Image",
    *,
    work_dir: Path,
    options: PreprocessOptions,
) -> "tuple[SimpleITK.Transform, float | None]":
    """Register a scan rigidly to the anchor of its session.

    Args:
        anchor: Anchor, whole head.
        anchor_mask: Its uint8 brain mask.
        scan: Scan of any contrast, whole head.
        work_dir: Folder for temporary files.
        options: Engine, threads and effort.

    Returns:
        A transform that resamples the scan onto the anchor, and the coherence of their edges, None if the
        program does not report it.
    """
    from bids_mmh.preprocess.steps.registration.session import CLEAR_COHERENCE, rigid
    from bids_mmh.preprocess.steps.registration.settings import registration_settings

    threads = options.omp_nthreads
    if options.engine == "freesurfer":
        from bids_mmh.preprocess.engines.freesurfer import coregister

        return coregister(anchor, anchor_mask, scan, dof=6, work_dir=work_dir, threads=threads), None
    settings = registration_settings(sloppy=options.sloppy)
    found = rigid(anchor, scan, anchor_mask, settings)
    if found[1] < CLEAR_COHERENCE:
        # A false optimum, or a poor pair: the scan's own brain is a start that cannot be far off.
        with suppress(BadDataError):
            brain_mask = BUILTIN.extract(scan, work_dir, threads).mask
            again = rigid(anchor, scan, anchor_mask, settings, moving_mask=brain_mask)
            found = max(found, again, key=lambda pair: pair[1])
    return found


def check_engine(engine: str, weights: Path | None = None) -> None:
    """Check that an engine can run, before hours of work.

    Args:
        engine: ``builtin``, ``deepbet``, ``network``, ``synthstrip`` or ``freesurfer``.
        weights: SynthStrip's weights; for that engine only.

    Raises:
        UsageError: If SynthStrip has no weights, or FreeSurfer is not installed.
        NoInputError: If the weights do not exist.
        BadDataError: If they are not SynthStrip's.
    """
    if engine == "synthstrip":
        from bids_mmh.preprocess.engines.synthstrip import check_weights

        check_weights(weights)
    elif engine == "freesurfer":
        from bids_mmh.preprocess.engines.freesurfer import check_freesurfer

        check_freesurfer()
