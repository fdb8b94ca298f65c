from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.phantom.files import quantized, scan_stem, sidecar_path, write_image


@pytest.mark.parametrize("code", ["RAS", "PSR", "LPS", "PIR"])
def test_orientation_changes_the_file_but_not_the_world(tmp_path, code):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = [-5, 6, 7]
    write_image(tmp_path / "a.nii.gz", values, affine, orientation=code)
    image = nib.load(tmp_path / "a.nii.gz")
    assert nib.aff2axcodes(image.affine) == tuple(code)
    assert image.get_data_dtype() == np.int16
    where = np.linalg.inv(image.affine) @ affine @ [1, 2, 3, 1]
    assert image.get_fdata()[tuple(np.round(where[:3]).astype(int))] == values[1, 2, 3]


def test_steps_keep_values_to_their_resolution():
    values = np.linspace(0, 50, 1000, dtype=np.float32)
    np.testing.assert_allclose(quantized(values, 100), values, atol=0.2501)
    assert len(np.unique(quantized(values, 100))) == 101


def test_names():
    scan = Path("sub-001/anat/sub-001_ses-a_T1w.nii.gz")
    assert scan_stem(scan) == (Path("sub-001/anat/sub-001_ses-a"), "T1w")
    assert sidecar_path(scan).name == "sub-001_ses-a_T1w.json"
