"""Small heads and brains with a known truth."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture(scope="session")
def lopsided(template) -> nib.Nifti1Image:
    """The template's brain at 2 mm (RAS+, float32) with a bright ball in the left hemisphere."""
    t1w = nib.load(template.t1w)
    data = t1w.get_fdata(dtype=np.float32)[::2, ::2, ::2]
    affine = t1w.affine @ np.diag([2, 2, 2, 1])
    x, y, z = np.moveaxis(nib.affines.apply_affine(affine, np.moveaxis(np.indices(data.shape), 0, -1)), -1, 0)
    data[(x + 40) ** 2 + (y + 10) ** 2 + (z - 30) ** 2 < 12**2] = 400
    return nib.Nifti1Image(data, affine)


@pytest.fixture
def save(tmp_path):
    def write(data: np.ndarray, affine: np.ndarray | None = None, name: str = "scan.nii.gz") -> Path:
        nib.save(
            nib.Nifti1Image(data, np.diag([5.0, 5, 5, 1]) if affine is None else affine), tmp_path / name
        )
        return tmp_path / name

    return write
