import gzip

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.preprocess.images import to_array
from bids_mmh.preprocess.steps.load import load_scan, save_on_input_voxels

WIDE = np.diag([5.0, 5, 5, 1])  # ten such voxels are as long as the smallest head


def _noise(shape=(10, 12, 14)):
    return np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)


def test_missing_file(tmp_path):
    with pytest.raises(NoInputError, match=r"gone\.nii"):
        load_scan(tmp_path / "gone.nii")


def test_truncated_gzip(tmp_path, save):
    whole = save(_noise((32, 32, 32))).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadDataError, match=r"cut\.nii\.gz is (truncated|not a readable)"):
        load_scan(tmp_path / "cut.nii.gz")


def test_not_nifti_at_all(tmp_path):
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no image here" * 100))
    with pytest.raises(BadDataError, match="not a readable NIfTI"):
        load_scan(tmp_path / "text.nii.gz")


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 1), (16, 16, 16, 2), (16, 16, 3)])
def test_what_is_no_volume_is_refused(save, shape):
    with pytest.raises(BadDataError, match="three-dimensional"):
        load_scan(save(_noise(shape)))


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_empty_volumes_are_refused(save, value):
    with pytest.raises(BadDataError):
        load_scan(save(np.full((9, 9, 9), value, dtype=np.float32)))


@pytest.mark.parametrize("form", ["sform", "pixdim"])
def test_voxels_without_size_are_refused(tmp_path, form):
    image = nib.Nifti1Image(_noise(), WIDE)
    raw = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(raw[:348]), check=False)
    if form == "sform":
        header["srow_x"] = header["srow_y"] = header["srow_z"] = 0
    else:
        header["sform_code"] = header["qform_code"] = 0
        header["pixdim"][1] = 0
    raw[:348] = header.binaryblock
    (tmp_path / "flat.nii").write_bytes(raw)
    with pytest.raises(BadDataError, match="voxel size"):
        load_scan(tmp_path / "flat.nii")


def test_trailing_singleton_nan_and_scale_factor(tmp_path):
    image = nib.Nifti1Image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10, 1), WIDE)
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "scaled.nii.gz")
    stored = nib.load(tmp_path / "scaled.nii.gz").get_fdata()[..., 0]
    np.testing.assert_allclose(to_array(load_scan(tmp_path / "scaled.nii.gz").image), stored)
    assert stored.max() == 0.5 * 999 + 10


def test_values_that_are_not_finite_become_zero(save):
    data = _noise()
    data[2, 3, 4] = np.nan
    data[3, 3, 4] = np.inf
    scan = load_scan(save(data))
    assert to_array(scan.image)[2, 3, 4] == 0
    assert to_array(scan.image)[3, 3, 4] == 0
    assert any("2 voxels were not finite" in warning for warning in scan.warnings)


def test_sform_without_code_gives_way_to_qform(tmp_path):
    image = nib.Nifti1Image(_noise(), WIDE)
    image.set_sform(np.diag([7, 7, 7, 1]), code=0)
    image.set_qform(np.diag([-6, 6, 6, 1]), code=1)
    nib.save(image, tmp_path / "q.nii")
    scan = load_scan(tmp_path / "q.nii")
    assert scan.image.GetSpacing() == (6, 6, 6)
    assert scan.geometry["orientation"] == "LAS"


def test_forms_that_disagree_or_are_missing_are_reported(tmp_path):
    image = nib.Nifti1Image(_noise(), WIDE)
    image.set_sform(WIDE, code=1)
    shifted = WIDE.copy()
    shifted[0, 3] = 5
    image.set_qform(shifted, code=1)
    nib.save(image, tmp_path / "two.nii")
    assert any("disagree" in w for w in load_scan(tmp_path / "two.nii").warnings)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(nib.Nifti1Image(_noise(), None, image.header), tmp_path / "none.nii")
    assert any("neither" in w for w in load_scan(tmp_path / "none.nii").warnings)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "LAI", "SLP"])
def test_native_output_has_the_raw_scans_own_voxels(tmp_path, codes):
    angle = np.deg2rad(12)
    oblique = np.diag([3.6, 4.4, 12.0, 1.0])
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    oblique[:3, :3] = turn @ oblique[:3, :3]
    ras = nib.Nifti1Image(_noise(), oblique)
    to_codes = nib.orientations.ornt_transform(
        nib.io_orientation(oblique), nib.orientations.axcodes2ornt(codes)
    )
    raw_file = tmp_path / "raw.nii.gz"
    nib.save(ras.as_reoriented(to_codes), raw_file)
    raw, scan = nib.load(raw_file), load_scan(raw_file)
    assert scan.geometry["orientation"] == codes
    np.testing.assert_allclose(to_array(scan.image), ras.get_fdata(), rtol=1e-6)
    lps = np.array(scan.image.TransformIndexToPhysicalPoint((2, 3, 4)))
    np.testing.assert_allclose(lps * [-1, -1, 1], (oblique @ [2, 3, 4, 1])[:3], atol=1e-4)
    back = nib.load(save_on_input_voxels(scan.image, raw_file, tmp_path / "back.nii.gz"))
    np.testing.assert_array_equal(back.affine, raw.affine)
    np.testing.assert_array_equal(back.get_fdata(), raw.get_fdata())
    assert back.header["sform_code"] == raw.header["sform_code"]
    assert back.header["qform_code"] == raw.header["qform_code"]


def test_spikes_are_clipped_with_a_warning_and_the_rest_keeps_its_values(save):
    data = _noise((30, 30, 30)).astype(np.float64)
    data[4, 5, 6], data[7, 8, 9] = 1e7, -1e12
    scan = load_scan(save(data))
    values = to_array(scan.image)
    assert any("2 voxels were far brighter" in warning for warning in scan.warnings)
    assert values.max() < 1000
    assert values.min() > -1000
    ordinary = np.abs(data) < 1000
    np.testing.assert_allclose(values[ordinary], data[ordinary], rtol=1e-6)


def test_bright_fat_and_a_blank_background_are_no_spikes(save):
    data = np.zeros((30, 30, 30), dtype=np.float32)
    data[5:25, 5:25, 5:25] = _noise((20, 20, 20))
    data[10, 10, 10:20] = 900
    assert load_scan(save(data)).warnings == []


def test_values_beyond_float32_give_a_warning(save):
    data = _noise((12, 12, 12)).astype(np.float64)
    data[3, 3, 3] = 1e300
    scan = load_scan(save(data))
    assert any("not finite" in warning for warning in scan.warnings)
    assert np.isfinite(to_array(scan.image)).all()


@pytest.mark.parametrize(
    ("unit", "millimetres"), [("meter", 1000), ("mm", 1), ("micron", 0.001), ("unknown", 1)]
)
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_the_unit_of_length_is_read_and_results_are_nifti1_in_mm(tmp_path, kind, unit, millimetres):
    affine = np.diag([-5.0, 5, 6, 1])
    affine[:3, 3] = 10, -20, 30
    stored = np.diag([*[1 / millimetres] * 3, 1]) @ affine
    image = kind(_noise(), stored)
    image.set_sform(stored, code=1)
    image.set_qform(stored, code=1)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "raw.nii")
    scan = load_scan(tmp_path / "raw.nii")
    np.testing.assert_allclose(scan.image.GetSpacing(), (5, 5, 6), rtol=1e-5)
    back = nib.load(save_on_input_voxels(scan.image, tmp_path / "raw.nii", tmp_path / "back.nii"))
    assert type(back) is nib.Nifti1Image
    np.testing.assert_allclose(back.affine, affine, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(back.get_qform(), affine, rtol=1e-5, atol=1e-4)
    assert (back.header["sform_code"], back.header["qform_code"]) == (1, 1)
    np.testing.assert_array_equal(back.get_fdata(), image.get_fdata())


@pytest.mark.parametrize("size", [0.02, 2.0, 100.0, 5000.0])
def test_what_is_too_small_or_too_large_for_a_head_is_refused(save, size):
    with pytest.raises(BadDataError, match=r"mm long by its header, .* \(xyzt_units\)"):
        load_scan(save(_noise(), np.diag([size, size, size, 1])))


def test_axes_in_one_plane_are_refused(save):
    affine = np.diag([5.0, 5, 5, 1])
    affine[:3, 1] = 5, 0.1, 0
    with pytest.raises(BadDataError, match="axes lie in one plane"):
        load_scan(save(_noise(), affine))


def test_a_header_that_promises_too_much_is_refused_before_anything_is_read(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((1024, 1024, 1024))
    header.set_data_dtype(np.float64)
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + bytes(1000))
    with pytest.raises(BadDataError, match="1024x1024x1024 voxels by its header, more than"):
        load_scan(tmp_path / "huge.nii")


def test_a_link_without_content_is_to_be_fetched(tmp_path):
    (tmp_path / "sub-01_T1w.nii.gz").symlink_to("../.git/annex/objects/xx/yy")
    with pytest.raises(
        NoInputError, match=r"is not here: fetch it \(with 'datalad get sub-01_T1w\.nii\.gz'\)"
    ):
        load_scan(tmp_path / "sub-01_T1w.nii.gz")
