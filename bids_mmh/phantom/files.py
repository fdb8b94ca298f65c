"""Writers of images, tables and sidecars."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.head.grid import Float


def write_image(
    path: Path,
    values: NDArray[np.generic],
    affine: NDArray[np.float64],
    *,
    orientation: str = "RAS",
    form: int = 1,
) -> None:
    """Write a NIfTI image in the data type of its array.

    Args:
        path: File to write; missing parent folders are made.
        values: Image, shape (x, y, z) or (x, y, z, components), axes towards right, anterior, superior.
        affine: Voxel indices to RAS world coordinates in mm, 4 x 4.
        orientation: Axis codes of the file, such as ``LPS``.
        form: Code of qform and sform (1 scanner, 4 MNI).
    """
    import nibabel as nib
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    turned = nib.orientations.apply_orientation(values, turn)
    image = nib.Nifti1Image(np.ascontiguousarray(turned), affine @ inv_ornt_aff(turn, values.shape))
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(image.affine, form)
    image.set_sform(image.affine, form)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)


def sidecar_path(image: Path) -> Path:
    """Give the path of the JSON sidecar of an image.

    Args:
        image: Path of a ``.nii.gz`` file.

    Returns:
        The path beside it that ends in ``.json``.

    Examples:
        >>> sidecar_path(Path("anat/sub-001_T1w.nii.gz")).as_posix()
        'anat/sub-001_T1w.json'
    """
    return image.with_name(image.name.removesuffix(".nii.gz") + ".json")


def scan_stem(scan: Path) -> tuple[Path, str]:
    """Split the path of a scan into its entities and its suffix.

    Args:
        scan: Path of a ``.nii.gz`` file with a BIDS name.

    Returns:
        The path up to the suffix, and the suffix.

    Examples:
        >>> stem, suffix = scan_stem(Path("anat/sub-001_T1w.nii.gz"))
        >>> stem.as_posix(), suffix
        ('anat/sub-001', 'T1w')
    """
    stem, _, suffix = scan.name.removesuffix(".nii.gz").rpartition("_")
    return scan.with_name(stem), suffix


def quantized(values: Float, n_steps: int = 4096) -> Float:
    """Round noise-free values to multiples of a fraction of their maximum, so that they compress well.

    Args:
        values: Non-negative values, any shape.
        n_steps: Number of multiples up to the maximum.

    Returns:
        The rounded values, same shape.

    Examples:
        >>> quantized(np.array([0.0, 0.3, 1.0], np.float32), n_steps=4).tolist()
        [0.0, 0.25, 1.0]
    """
    step = np.float32(max(float(values.max()), 1e-6) / n_steps)
    return np.round(values / step) * step


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file.

    Args:
        path: File to write; missing parent folders are made.
        content: Values that JSON can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a tab-separated table.

    Args:
        path: File to write; missing parent folders are made.
        header: Names of the columns.
        rows: Rows of cells, each as long as the header.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(header), *("\t".join(str(cell) for cell in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
