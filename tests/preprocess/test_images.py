import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from bids_mmh.errors import BadDataError, IoError
from bids_mmh.preprocess.images import itk_writes, open_nifti, save_nifti, save_work
from bids_mmh.preprocess.interfaces import LoadScan


def test_what_cannot_be_written_is_no_bug(tmp_path):
    path = tmp_path / "full" / "x.nrrd"
    with pytest.raises(IoError, match=r"x\.nrrd cannot be written: the disk is full"), itk_writes(path):
        SimpleITK.WriteImage(SimpleITK.Image(8, 8, 8, SimpleITK.sitkUInt8), str(path))
    assert save_work(SimpleITK.Image(8, 8, 8, SimpleITK.sitkUInt8), path) == path


def test_what_itk_cannot_do_names_the_scan_and_no_address_in_memory(tmp_path):
    step = LoadScan(in_file=str(tmp_path / "scan.nii"))
    with pytest.raises(BadDataError) as caught, step.step("brain mask"):
        empty = SimpleITK.Image(8, 8, 8, SimpleITK.sitkFloat32)
        SimpleITK.CenteredTransformInitializer(
            empty, empty, SimpleITK.Euler3DTransform(), SimpleITK.CenteredTransformInitializerFilter.MOMENTS
        )
    sentence = str(caught.value)
    assert re.search(r"scan\.nii cannot be used in the step 'brain mask', .*leave it out\.$", sentence)
    assert "Total Mass" not in sentence
    assert "0x" not in sentence
    assert "\n" not in sentence


def test_other_errors_of_a_step_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"), LoadScan(in_file=str(tmp_path)).step("load"):
        raise RuntimeError("a bug")


def test_what_is_damaged_inside_is_an_error_of_the_system(tmp_path):
    path = tmp_path / "scan.nii.gz"
    values = np.random.default_rng(0).integers(4, size=(40, 40, 40)).astype(np.int16)
    save_nifti(nib.Nifti1Image(values, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[10] = 0xFF  # after the header: a block of a kind that there is not
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"scan\.nii\.gz is damaged"):
        open_nifti(path)
