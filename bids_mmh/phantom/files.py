"""Writing images, tables and sidecars."""

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
    """Write a NIfTI image in its array's data type.

    Args:
        path: File to write; its folder is made.
        values: Array whose axes run right, anterior, superior.
        affine: Voxels to mm (RAS).
        orientation: Axis codes that the file shall have.
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
    """Return the path of the JSON file beside an image."""
    return image.with_name(image.name.removesuffix(".nii.gz") + ".json")


def scan_stem(scan: Path) -> tuple[Path, str]:
    """Split ``a/sub-001_T1w.nii.gz`` into ``a/sub-001`` and ``T1w``."""
    stem, _, suffix = scan.name.removesuffix(".nii.gz").rpartition("_")
    return scan.with_name(stem), suffix


def steps(values: Float, n_steps: int = 4096) -> Float:
    """Round noise-free values to steps of their maximum, so that they compress well."""
    step = np.float32(max(float(values.max()), 1e-6) / n_steps)
    return np.round(values / step) * step


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a tab-separated table; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(header), *("\t".join(str(cell) for cell in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
