"""The outputs of one scan: correct, resample and write it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_mmh.preprocess.grid import Grid, model_grid
from bids_mmh.preprocess.images import read_work, save_nifti, to_array

if TYPE_CHECKING:
    import SimpleITK


@dataclass(frozen=True)
class FinishFiles:
    """Intermediate files that the outputs of one scan are made from.

    Attributes:
        raw: Raw NIfTI scan.
        full: Working image of the whole scan.
        mask: Its brain mask, on a part of its voxels.
        bias: Logarithm of its bias field, on the same part.
        anchor_mask: Brain mask of the session's anchor.
        anchor_to_mni: Resamples the anchor onto the template.
        to_anchor: Resamples the scan onto the anchor; None for the anchor itself.
        template: T1w template.
        template_mask: Its brain mask.
    """

    raw: Path
    full: Path
    mask: Path
    bias: Path
    anchor_mask: Path
    anchor_to_mni: Path
    to_anchor: Path | None
    template: Path
    template_mask: Path


def finish_scan(
    files: FinishFiles, *, sequence: str, spacing: float, out_dir: Path
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Correct, resample and write one scan.

    Args:
        files: Intermediate files of the previous steps.
        sequence: BIDS suffix of the scan.
        spacing: Voxel size of the model's grid in mm.
        out_dir: Folder for the results.

    Returns:
        The files written by name (``native_preproc``, ``native_mask``, ``mni_preproc``, ``mni_mask``,
        ``to_mni_xfm``), and the quality metrics.
    """
    from bids_mmh.preprocess.steps.bias import divide_bias
    from bids_mmh.preprocess.steps.load import save_on_input_voxels
    from bids_mmh.preprocess.steps.quality import quality_metrics
    from bids_mmh.preprocess.steps.resample import template_on_grid
    from bids_mmh.preprocess.transforms import compose, read_transform, save_transform

    grid = model_grid(spacing)
    anchor_to_mni = read_transform(files.anchor_to_mni)
    to_mni = compose(anchor_to_mni, read_transform(files.to_anchor)) if files.to_anchor else anchor_to_mni
    corrected = divide_bias(read_work(files.full), read_work(files.bias))
    native_mask = resample_nearest(read_work(files.mask), corrected)
    mni_image, mni_mask, whole_mask, in_view = _in_mni(files, corrected, to_mni, grid)
    figures = quality_metrics(
        sequence,
        native_mask=native_mask,
        mni_image=mni_image,
        mni_mask=mni_mask,
        whole_mni_mask=whole_mask,
        field_of_view=in_view,
        template=template_on_grid(files.template, files.template_mask, grid),
    )
    written = {
        "native_preproc": save_on_input_voxels(corrected, files.raw, out_dir / "native_preproc.nii.gz"),
        "native_mask": save_on_input_voxels(native_mask, files.raw, out_dir / "native_mask.nii.gz"),
        "mni_preproc": save_on_grid(mni_image, grid, out_dir / "mni_preproc.nii.gz"),
        "mni_mask": save_on_grid(mni_mask, grid, out_dir / "mni_mask.nii.gz"),
        "to_mni_xfm": save_transform(to_mni, out_dir / "to_mni_xfm.txt"),
    }
    return written, figures


def save_on_grid(image: "SimpleITK.Image", grid: Grid, path: Path) -> Path:
    """Write an image that lies on the model's grid as RAS+ NIfTI with form codes 4 (MNI).

    Args:
        image: Image of the grid's shape.
        grid: The model's grid.
        path: NIfTI file to write.

    Returns:
        The path.
    """
    import nibabel as nib

    nifti = nib.Nifti1Image(to_array(image), grid.affine)
    nifti.set_sform(grid.affine, code="mni")
    nifti.set_qform(grid.affine, code="mni")
    nifti.header.set_xyzt_units("mm")
    return save_nifti(nifti, path)


def _in_mni(
    files: FinishFiles, corrected: "SimpleITK.Image", to_mni: "SimpleITK.Transform", grid: Grid
) -> "tuple[SimpleITK.Image, SimpleITK.Image, SimpleITK.Image, SimpleITK.Image]":
    """On the grid: the scan without its background, its mask, the whole brain's, and its field of view."""
    import SimpleITK

    from bids_mmh.preprocess.steps.resample import field_of_view, resample_mask, resample_scan
    from bids_mmh.preprocess.transforms import read_transform

    reference = grid.reference()
    # The anchor's mask is resampled directly to the grid: by way of thick slices it would lose detail.
    whole = resample_mask(read_work(files.anchor_mask), reference, read_transform(files.anchor_to_mni))
    in_view = field_of_view(corrected, reference, to_mni)
    mask = SimpleITK.And(whole, in_view)
    return resample_scan(corrected, reference, to_mni, mask), mask, whole, in_view


def resample_nearest(mask: "SimpleITK.Image", full: "SimpleITK.Image") -> "SimpleITK.Image":
    """Resample a mask to an image whose voxel centres it shares: a larger image, or a part of it.

    Args:
        mask: uint8 mask.
        full: Image whose geometry the result has.

    Returns:
        uint8 mask, 0 outside the field of view of ``mask``.
    """
    import SimpleITK

    return SimpleITK.Resample(
        mask, full, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0, SimpleITK.sitkUInt8
    )
