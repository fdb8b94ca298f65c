"""The steps of one scan as plain functions on images, and all of them in a row for a scan that stands alone.

The Nipype interfaces of a session and the Python interface both call these functions: what is done to a scan
is said here once, and where its files lie elsewhere.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.grid import Grid
from bids_mmh.preprocess.options import PreprocessOptions
from bids_mmh.preprocess.template import Template

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK

    from bids_mmh.preprocess.steps.extraction import BrainMask


SCAN_FILE = "scan.nii"  # the scan in its folder; messages name it


@dataclass(frozen=True)
class Standard:
    """The template as images: a T1w, float32, and its brain mask, uint8, on the same voxels."""

    t1w: "SimpleITK.Image"
    brain_mask: "SimpleITK.Image"

    @classmethod
    def read(cls, t1w: Path, brain_mask: Path) -> "Standard":
        """Read both files.

        Args:
            t1w: NIfTI file of the template's T1w.
            brain_mask: NIfTI file of its brain mask.

        Returns:
            Both as images.
        """
        from bids_mmh.preprocess.images import read_nifti

        return cls(read_nifti(t1w), read_nifti(brain_mask, np.uint8))


@dataclass(frozen=True)
class Bias:
    """A bias field.

    Attributes:
        log_field: its natural logarithm on the voxels of the head.
        warnings: sentences.
        figures: settings that it was estimated with; empty where it was not.
    """

    log_field: "SimpleITK.Image"
    warnings: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)


def prepare_head(scan: "SimpleITK.Image") -> "tuple[SimpleITK.Image, list[str]]":
    """Suppress the noise of an MP2RAGE background and cut the neck off.

    Args:
        scan: float32 working image, axes close to RAS+.

    Returns:
        The head on a part of the scan's voxels, and notes on what was done.
    """
    from bids_mmh.preprocess.steps.background import NOTE, suppress_background
    from bids_mmh.preprocess.steps.neck import crop_neck

    searched, suppressed = suppress_background(scan)
    return crop_neck(searched), [NOTE] if suppressed else []


def find_brain(
    head: "SimpleITK.Image",
    standard: Standard,
    *,
    sequence: str,
    options: PreprocessOptions,
    work_dir: Path,
) -> "BrainMask":
    """Find the brain of a scan that stands alone.

    Args:
        head: from :func:`prepare_head`.
        standard: the template.
        sequence: BIDS suffix of the scan.
        options: engine, weights, CPU threads, and whether a skull is looked for at all.
        work_dir: for temporary files.

    Returns:
        The brain mask, and how it was found.

    Raises:
        BadDataError: no brain is found.
    """
    from bids_mmh.preprocess.engines.choice import brain_extractor
    from bids_mmh.preprocess.steps.skull_strip import strip_skull

    return strip_skull(
        head,
        standard.t1w,
        standard.brain_mask,
        work_dir=work_dir,
        threads=options.omp_nthreads,
        mode=options.skull_strip,
        extractor=brain_extractor(options.engine, options.synthstrip_weights, sequence=sequence),
    )


def find_bias(head: "SimpleITK.Image", brain: "SimpleITK.Image", *, sloppy: bool) -> Bias:
    """Estimate the bias field inside the brain by N4.

    Args:
        head: from :func:`prepare_head`.
        brain: its brain mask.
        sloppy: fewer iterations on a coarser copy.

    Returns:
        The field, with what was found odd about it.
    """
    from bids_mmh.preprocess.steps.bias import (
        FAST_N4,
        NOT_POSITIVE,
        N4Settings,
        estimate_log_bias,
        is_positive,
    )

    settings = FAST_N4 if sloppy else N4Settings()
    warnings = () if is_positive(head, brain) else (NOT_POSITIVE,)
    return Bias(estimate_log_bias(head, brain, settings), warnings, {"n4": settings.as_dict()})


def no_bias(head: "SimpleITK.Image") -> Bias:
    """The field of a scan that is corrected already: 1 everywhere.

    Args:
        head: the scan.

    Returns:
        A field whose logarithm is 0 on the scan's voxels.
    """
    from bids_mmh.preprocess.images import image_like

    return Bias(image_like(np.zeros(head.GetSize(), np.float32), head))


def align_brain(
    head: "SimpleITK.Image",
    brain: "SimpleITK.Image",
    log_bias: "SimpleITK.Image",
    standard: Standard,
    *,
    options: PreprocessOptions,
    work_dir: Path,
) -> "tuple[SimpleITK.Transform, float | None]":
    """Align the corrected brain to the template with nine degrees of freedom.

    Args:
        head: from :func:`prepare_head`.
        brain: its brain mask.
        log_bias: logarithm of its bias field.
        standard: the template.
        options: engine and CPU threads.
        work_dir: for temporary files.

    Returns:
        The transform that resamples the head onto the template, and their mutual information.
    """
    from bids_mmh.preprocess.engines.choice import align_to_template
    from bids_mmh.preprocess.steps.bias import divide_bias
    from bids_mmh.preprocess.steps.resample import apply_mask

    stripped = apply_mask(divide_bias(head, log_bias), brain)
    return align_to_template(standard.t1w, standard.brain_mask, stripped, work_dir=work_dir, options=options)


def preprocess_scan(
    image: "nib.Nifti1Image",
    mask: np.ndarray | None,
    *,
    sequence: str,
    template: Template,
    grid: Grid,
    folder: Path,
    options: PreprocessOptions,
) -> dict[str, Path]:
    """Preprocess a raw scan to template space.

    Args:
        image: Raw scan.
        mask: Boolean brain mask on its voxels; None to extract the brain.
        sequence: BIDS suffix.
        template: Template brain.
        grid: The model's grid.
        folder: Folder for all files.
        options: Options of the preprocessing.

    Returns:
        The files that :func:`bids_mmh.preprocess.steps.finish.finish_scan` writes, by name.

    Raises:
        BadDataError: If the scan is unusable, or no brain is found in it.
    """
    from bids_mmh.preprocess.images import save_nifti, save_work
    from bids_mmh.preprocess.steps.finish import FinishFiles, finish_scan, resample_nearest
    from bids_mmh.preprocess.steps.load import load_scan
    from bids_mmh.preprocess.transforms import save_transform

    raw = save_nifti(image, folder / SCAN_FILE)
    full = load_scan(raw).image
    head, _ = prepare_head(full)
    standard = Standard.read(template.t1w, template.brain_mask)
    if mask is None:
        found = find_brain(head, standard, sequence=sequence, options=options, work_dir=folder)
        brain = found.mask
    else:
        brain = resample_nearest(_mask_like(mask, raw, full), head)
    bias = find_bias(head, brain, sloppy=options.sloppy).log_field
    to_mni, _ = align_brain(head, brain, bias, standard, options=options, work_dir=folder)
    mask_file = save_work(brain, folder / "mask.nrrd")
    files = FinishFiles(
        raw=raw,
        full=save_work(full, folder / "full.nrrd"),
        mask=mask_file,
        bias=save_work(bias, folder / "log_bias.nrrd"),
        anchor_mask=mask_file,
        anchor_to_mni=save_transform(to_mni, folder / "to_mni.txt"),
        to_anchor=None,
        template=template.t1w,
        template_mask=template.brain_mask,
    )
    return finish_scan(files, sequence=sequence, spacing=grid.spacing, out_dir=folder)[0]


def resample_to_grid(
    image: "nib.Nifti1Image", mask: np.ndarray | None, *, grid: Grid, folder: Path
) -> dict[str, Path]:
    """Resample a scan that is already in template space to the model's grid, if it is not on it.

    Args:
        image: Scan in template space, on any voxels.
        mask: Boolean brain mask on its voxels; None if it is skull-stripped.
        grid: The model's grid.
        folder: Folder for all files.

    Returns:
        ``mni_preproc`` and ``mni_mask``.

    Raises:
        BadDataError: If the scan is unusable, or is not skull-stripped and has no mask.
    """
    import SimpleITK

    from bids_mmh.preprocess.images import save_nifti
    from bids_mmh.preprocess.steps.brain import stripped_support
    from bids_mmh.preprocess.steps.finish import save_on_grid
    from bids_mmh.preprocess.steps.load import load_scan
    from bids_mmh.preprocess.steps.resample import apply_mask, resample_mask, resample_scan

    raw = save_nifti(image, folder / SCAN_FILE)
    scan = load_scan(raw).image
    brain = stripped_support(scan) if mask is None else _mask_like(mask, raw, scan)
    if brain is None:
        raise BadDataError(
            "The image is not a skull-stripped brain: give its brain mask, or space='native' for a raw head."
        )
    if image.shape != grid.shape or not np.allclose(image.affine, grid.affine, atol=1e-3):
        reference, identity = grid.reference(), SimpleITK.Transform()
        brain = resample_mask(brain, reference, identity)
        scan = resample_scan(scan, reference, identity, brain)
    return {
        "mni_preproc": save_on_grid(apply_mask(scan, brain), grid, folder / "mni_preproc.nii"),
        "mni_mask": save_on_grid(brain, grid, folder / "mni_mask.nii"),
    }


def _mask_like(mask: np.ndarray, raw: Path, scan: "SimpleITK.Image") -> "SimpleITK.Image":
    """A mask on the axes of a raw file as a working image like ``scan``, which was loaded from that file."""
    import nibabel as nib

    from bids_mmh.preprocess.images import image_like
    from bids_mmh.preprocess.steps.load import world_affine

    affine, _ = world_affine(nib.Nifti1Image.from_filename(raw), raw)
    return image_like(nib.apply_orientation(mask.astype(np.uint8), nib.io_orientation(affine)), scan)
