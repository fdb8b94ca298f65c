"""Images that are not what they should be: refused in a sentence, or read with a warning."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.errors import BidsMmhError
from bids_mmh.preprocess.images import to_array
from bids_mmh.preprocess.steps.load import load_scan

WIDE = np.diag([5.0, 5, 5, 1])
SHAPE = (20, 22, 24)


def values(shape=SHAPE):
    return np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)


def nifti(data, affine=WIDE, **header):
    image = nib.Nifti1Image(data, affine)
    for name, value in header.items():
        image.header[name] = value
    return image.to_bytes()


def stored_header(**fields):
    """The bytes of a file whose header says something that nibabel would not write."""
    raw = bytearray(nifti(values()))
    header = nib.Nifti1Header(bytes(raw[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    raw[:348] = header.binaryblock
    return bytes(raw)


def with_voxel(value):
    data = values()
    data[3, 4, 5] = value
    return nifti(data)


def structured(*names):
    return nifti(np.zeros(SHAPE, [(name, "u1") for name in names]))


PLANE = WIDE.copy()
PLANE[:3, 1] = PLANE[:3, 0]
BOMB = nib.Nifti1Header()
BOMB.set_data_shape((1024, 1024, 1024))
BOMB.set_data_dtype(np.float64)

REFUSED = {
    "nothing": (b"", "not a readable NIfTI"),
    "zeros": (bytes(5000), "not a readable NIfTI"),
    "text": (b"hello " * 1000, "not a readable NIfTI"),
    "html": (b"<html><body>404 Not Found</body></html>" * 50, "not a readable NIfTI"),
    "wrong magic": (nifti(values()).replace(b"n+1\0", b"xyz\0", 1), "not a readable NIfTI"),
    "cut in the header": (nifti(values())[:200], "not a readable NIfTI"),
    "cut in the data": (nifti(values())[:5000], "truncated or damaged"),
    "two dimensions": (nifti(values(SHAPE[:2])), "three-dimensional volume"),
    "one slice": (nifti(values((20, 22, 1))), "three-dimensional volume"),
    "many volumes": (nifti(values((*SHAPE, 3))), "20x22x24x3"),
    "five dimensions": (nifti(values((*SHAPE, 1, 2))), "three-dimensional volume"),
    "no voxel": (stored_header(dim=[3, 20, 0, 24, 1, 1, 1, 1]), None),
    "negative size": (stored_header(dim=[3, -20, 22, 24, 1, 1, 1, 1]), None),
    "absurd number of axes": (stored_header(dim=[99, 20, 22, 24, 1, 1, 1, 1]), None),
    "unknown data type": (stored_header(datatype=9999), "not a readable NIfTI"),
    "complex": (nifti(values().astype(np.complex64)), "colours or complex numbers"),
    "colours": (structured("R", "G", "B"), "colours or complex numbers"),
    "transparent colours": (structured("R", "G", "B", "A"), "colours or complex numbers"),
    "constant": (nifti(np.full(SHAPE, 7, np.float32)), "the same value 7"),
    "all zero": (nifti(np.zeros(SHAPE, np.int16)), "the same value 0"),
    "nothing finite": (nifti(np.full(SHAPE, np.nan, np.float32)), "no finite value"),
    "sform of zeros": (stored_header(sform_code=1, srow_x=0, srow_y=0, srow_z=0), "voxel size"),
    "sform not finite": (stored_header(sform_code=1, srow_x=np.nan), "voxel size"),
    "axes in one plane": (nifti(values(), PLANE), "axes lie in one plane"),
    "voxels of zero": (stored_header(sform_code=0, qform_code=0, pixdim=[1, 0, 5, 5, 1, 1, 1, 1]),
                       "voxel size"),
    "micrometres as mm": (nifti(values(), np.diag([5e3, 5e3, 5e3, 1])), "1.2e+05 mm long"),
    "metres as mm": (nifti(values(), np.diag([0.005, 0.005, 0.005, 1])), "0.12 mm long"),
    "centimetres as mm": (nifti(values(), np.diag([0.5, 0.5, 0.5, 1])), "12 mm long"),
    "metres by mistake": (nifti(values(), xyzt_units=1), "1.2e+05 mm long"),
    "a promise of 8 GB": (BOMB.binaryblock + bytes(1000), "more than any scan of a head"),
}  # fmt: skip

READ = {
    "one volume in four dimensions": (nifti(values((*SHAPE, 1))), None),
    "big-endian": (nib.Nifti1Image(values(), WIDE, nib.Nifti1Header(endianness=">")).to_bytes(), None),
    "unsigned bytes": (nifti(np.clip(values(), 0, 255).astype(np.uint8)), None),
    "double precision": (nifti(values().astype(np.float64)), None),
    "below zero": (nifti(values() - 1000), None),
    "ten millions": (nifti(values() * 1e5), None),
    "not a number": (with_voxel(np.nan), "not finite"),
    "infinite": (with_voxel(np.inf), "not finite"),
    "one spike": (with_voxel(1e7), "far brighter or darker"),
    "no form": (stored_header(sform_code=0, qform_code=0), "neither sform nor qform"),
    "two forms": (stored_header(sform_code=1, qform_code=1, qoffset_x=50), "disagree"),
    "a qform that is no rotation": (stored_header(sform_code=1, qform_code=1, quatern_b=1e30), "qform"),
    "mirrored axes": (nifti(values(), np.diag([-5.0, 5, 5, 1])), None),
    "unknown unit": (nifti(values(), xyzt_units=7), None),
    "slope not finite": (stored_header(scl_slope=np.inf, scl_inter=0), None),
    "NIfTI-2": (nib.Nifti2Image(values(), WIDE).to_bytes(), None),
}  # fmt: skip


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("content", "sentence"), REFUSED.values(), ids=REFUSED)
def test_images_that_are_refused(tmp_path, content, sentence, ending):
    path = save(tmp_path, content, ending)
    with pytest.raises(BidsMmhError) as caught:
        load_scan(path)
    assert caught.value.code == 65
    assert str(path) in str(caught.value)
    assert sentence is None or sentence in str(caught.value)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("content", "warning"), READ.values(), ids=READ)
def test_images_that_are_read(tmp_path, content, warning, ending):
    scan = load_scan(save(tmp_path, content, ending))
    assert scan.image.GetSize() == SHAPE
    np.testing.assert_allclose(scan.image.GetSpacing(), 5, rtol=1e-5)
    assert np.isfinite(to_array(scan.image)).all()
    assert [warning in sentence for sentence in scan.warnings] == ([True] if warning else [])


@pytest.mark.parametrize("kept", [0, 1, 15, 400, 5000, -1])
def test_gzip_files_that_are_cut_off(tmp_path, kept):
    whole = gzip.compress(nifti(values()))
    (tmp_path / "sub-01_T1w.nii.gz").write_bytes(whole[:kept])
    with pytest.raises(BidsMmhError) as caught:
        load_scan(tmp_path / "sub-01_T1w.nii.gz")
    assert caught.value.code == 65


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_gzip_files_with_one_other_byte(tmp_path, place):
    content = bytearray(gzip.compress(nifti(values())))
    content[int(place * len(content))] ^= 0x10
    (tmp_path / "sub-01_T1w.nii.gz").write_bytes(content)
    with pytest.raises(BidsMmhError) as caught:
        load_scan(tmp_path / "sub-01_T1w.nii.gz")
    assert caught.value.code == 65


def save(folder: Path, content: bytes, ending: str) -> Path:
    path = folder / f"sub-01_T1w{ending}"
    path.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    return path
