"""One scan without a session, by the steps of a session's anchor, without a workflow."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.grid import Grid
from bids_mmh.preprocess.options import PreprocessOptions
from bids_mmh.preprocess.template import Template

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK


SCAN_FILE = "scan.nii"  # the scan in its folder; messages name it


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
    from bids_mmh.preprocess.engines import align_to_template, brain_extractor
    from bids_mmh.preprocess.images import read_nifti, save_nifti, save_work
    from bids_mmh.preprocess.steps.background import suppress_background
    from bids_mmh.preprocess.steps.bias import FAST_N4, N4Settings, divide_bias, estimate_log_bias
    from bids_mmh.preprocess.steps.finish import FinishFiles, finish_scan, resample_nearest
    from bids_mmh.preprocess.steps.load import load_scan
    from bids_mmh.preprocess.steps.neck import crop_neck
    from bids_mmh.preprocess.steps.resample import apply_mask
    from bids_mmh.preprocess.steps.skull_strip import strip_skull
    from bids_mmh.preprocess.transforms import save_transform

    raw = save_nifti(image, folder / SCAN_FILE)
    full = load_scan(raw).image
    head = crop_neck(suppress_background(full)[0])
    standard, standard_mask = read_nifti(template.t1w), read_nifti(template.brain_mask, np.uint8)
    if mask is None:
        brain = strip_skull(
            head,
            standard,
            standard_mask,
            work_dir=folder,
            threads=options.omp_nthreads,
            mode=options.skull_strip,
            extractor=brain_extractor(options.engine, options.synthstrip_weights),
        ).mask
    else:
        brain = resample_nearest(_mask_like(mask, raw, full), head)
    bias = estimate_log_bias(head, brain, FAST_N4 if options.sloppy else N4Settings())
    stripped = apply_mask(divide_bias(head, bias), brain)
    to_mni, _ = align_to_template(standard, standard_mask, stripped, work_dir=folder, options=options)
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
        scan, brain = resample_scan(scan, reference, identity), resample_mask(brain, reference, identity)
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
