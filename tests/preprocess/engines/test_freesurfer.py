"""FreeSurfer's command lines, met by stand-ins on the PATH that note them and write what it would."""

import numpy as np
import pytest

from bids_mmh.errors import BadDataError, UsageError
from bids_mmh.preprocess.engines.freesurfer import check_freesurfer, coregister, freesurfer_mask
from bids_mmh.preprocess.images import to_array, to_sitk
from bids_mmh.preprocess.transforms import to_matrix

STRIP = """
import nibabel as nib, numpy as np
image = nib.load(value("-i"))
nib.save(nib.Nifti1Image((image.get_fdata() > 50).astype(np.uint8), image.affine), value("-m"))
"""
COREG = 'open(value("--lta"), "w").write("type = 1")'
CONVERT = """
assert open(value("--inlta")).read() == "type = 1"
open(value("--outitk"), "w").write(
    "#Insight Transform File V1.0\\n#Transform 0\\nTransform: AffineTransform_double_3_3\\n"
    "Parameters: 1 0 0 0 1 0 0 0 1 4 5 6\\nFixedParameters: 0 0 0\\n")
"""
STAND_IN = """#!{python}
import os, sys
with open({log!r}, "a") as stream:
    threads = "threads=" + os.environ.get("OMP_NUM_THREADS", "")
    print(os.path.basename(sys.argv[0]), *sys.argv[1:], threads, file=stream)
def value(option):
    return sys.argv[sys.argv.index(option) + 1]
{body}
"""


@pytest.fixture
def freesurfer(tmp_path, monkeypatch):
    """An installation of stand-ins; calling the result lists the command lines so far."""
    import sys

    home, log = tmp_path / "freesurfer", tmp_path / "log.txt"
    (home / "bin").mkdir(parents=True)
    (home / "license.txt").write_text("me")

    def install(name, body):
        path = home / "bin" / name
        path.write_text(STAND_IN.format(python=sys.executable, log=str(log), body=body))
        path.chmod(0o755)

    for name, body in (("mri_synthstrip", STRIP), ("mri_coreg", COREG), ("lta_convert", CONVERT)):
        install(name, body)
    monkeypatch.setenv("FREESURFER_HOME", str(home))
    monkeypatch.setenv("PATH", str(home / "bin"), prepend=":")
    install.lines = lambda: log.read_text().splitlines()
    return install


@pytest.fixture
def head():
    x, y, z = np.indices((60, 60, 60)) * 3.0 - 90
    ball = x**2 + y**2 + z**2 < 70**2
    return to_sitk(np.where(ball, 100, 0).astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))


def test_mri_synthstrip_is_called_as_it_wants(freesurfer, head, tmp_path):
    check_freesurfer()
    mask = freesurfer_mask(head, tmp_path, threads=3)
    np.testing.assert_array_equal(to_array(mask), to_array(head) > 50)
    assert freesurfer.lines() == [
        f"mri_synthstrip -i {tmp_path}/synthstrip_in.nii.gz -m {tmp_path}/synthstrip_mask.nii.gz threads=3"
    ]


@pytest.mark.parametrize("dof", [6, 9])
def test_mri_coreg_and_lta_convert_are_called_as_they_want(freesurfer, head, tmp_path, monkeypatch, dof):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    mask = to_sitk((to_array(head) > 50).astype(np.uint8), np.diag([3.0, 3.0, 3.0, 1.0]))
    transform = coregister(head, mask, head, dof=dof, work_dir=tmp_path, threads=2)
    # ITK's file takes points of the reference to the moving image, in LPS.
    np.testing.assert_allclose(to_matrix(transform)[:3, 3], [4, 5, 6])
    coreg, convert = freesurfer.lines()
    images = f"--ref {tmp_path}/coreg_fixed.nii.gz --mov {tmp_path}/coreg_moving.nii.gz"
    assert coreg == (
        f"mri_coreg --ref-mask {tmp_path}/coreg_mask.nii.gz --dof {dof} --threads 2 "
        f"--lta {tmp_path}/coreg.lta {images} --sd {tmp_path} threads="
    )
    assert convert == f"lta_convert --inlta {tmp_path}/coreg.lta --outitk {tmp_path}/coreg_itk.txt threads="


def test_a_command_that_fails_is_named(freesurfer, head, tmp_path):
    freesurfer("mri_synthstrip", "sys.exit('ERROR: no licence')")
    with pytest.raises(BadDataError, match="mri_synthstrip failed"):
        freesurfer_mask(head, tmp_path)


def test_a_mask_of_no_brains_size_is_refused(freesurfer, head, tmp_path):
    freesurfer("mri_synthstrip", STRIP.replace("> 50", "> 500"))
    with pytest.raises(BadDataError, match="measures 0 ml"):
        freesurfer_mask(head, tmp_path)


def test_what_is_missing_of_freesurfer_is_said(freesurfer, tmp_path, monkeypatch):
    monkeypatch.delenv("FS_LICENSE", raising=False)
    (tmp_path / "freesurfer" / "license.txt").unlink()
    with pytest.raises(UsageError, match="licence"):
        check_freesurfer()
    (tmp_path / "freesurfer" / "bin" / "mri_coreg").unlink()
    with pytest.raises(UsageError, match="mri_coreg is not on the PATH"):
        check_freesurfer()
