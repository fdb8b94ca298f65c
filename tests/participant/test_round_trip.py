"""From a scan's own voxels to the model's grid and back: nothing moves, and the header stays as it was."""

from functools import cache

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.participant.harmonize import Harmonized
from bids_mmh.participant.intensity_units import STORED_INTERCEPT, STORED_SLOPE, stored_on_native
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import save_nifti
from bids_mmh.preprocess.steps.load import load_scan, save_on_input_voxels
from bids_mmh.preprocess.transforms import from_matrix, save_transform

GRID = model_grid(2.0)
SHAPE = (60, 44, 52)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SLOPE, INTERCEPT = 0.002, -0.9


def _points(affine, shape):
    return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))


def _wave(points):
    """A change that any shift would show: waves of 40 mm along each axis."""
    return 0.2 * np.sin(2 * np.pi * points / 40).prod(axis=-1)


def _ball(points):
    return np.linalg.norm(points - np.array([0, -15, 5]), axis=-1) < 55


@pytest.fixture(scope="module", params=[(1, 1, "RAS"), (2, 0, "PIR"), (0, 1, "LAS"), (0, 0, "LAS")])
def scan(request, tmp_path_factory):
    """An oblique int16 scan with scale factors, its form codes and its place in template space (RAS)."""
    sform, qform, codes = request.param
    turn = nib.eulerangles.euler2mat(0.1, -0.2, 0.15)
    affine = nib.affines.from_matvec(turn @ np.diag([2.5, 3.5, 3.0]), [-70, -85, -70])
    if not sform and not qform:  # nothing but voxel sizes: nibabel's own guess is the affine
        header = nib.Nifti1Header()
        header.set_data_shape(SHAPE)
        header.set_zooms((2.5, 3.5, 3.0))
        affine = header.get_base_affine()
    image = nib.Nifti1Image(np.random.default_rng(0).integers(50, 900, SHAPE, dtype=np.int16), affine)
    image.set_sform(affine if sform else None, sform)
    image.set_qform(affine if qform else None, qform)
    if sform or qform:
        turned = nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
        image = image.as_reoriented(nib.orientations.ornt_transform(*turned))
        image.set_sform(image.affine if sform else None, sform)
        image.set_qform(image.affine if qform else None, qform)
    image.header.set_slope_inter(0.5, 3)
    path = save_nifti(image, tmp_path_factory.mktemp("scan") / "scan.nii.gz")
    # Template to scan: a turn, three scales, and a shift onto the middle of the scan.
    matrix = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.05, 0.1, -0.1) @ np.diag([0.9, 1.05, 1.1]))
    middle = nib.affines.apply_affine(image.affine, (np.array(image.shape) - 1) / 2)
    matrix[:3, 3] = middle - matrix[:3, :3] @ [0, -15, 5]
    return path, matrix


@pytest.fixture(scope="module")
def back(scan):
    """The scan after a model that adds the wave, on its own voxels; and its points in template space."""
    path, matrix = scan
    folder = path.parent
    points = _points(GRID.affine, GRID.shape)
    mask, before = _ball(points), np.zeros(GRID.shape, np.float32)
    preproc = save_on_input_voxels(load_scan(path).image, path, folder / "preproc.nii.gz")
    own = nib.load(preproc)
    in_template = nib.affines.apply_affine(np.linalg.inv(matrix), _points(own.affine, own.shape))
    brain = save_nifti(
        nib.Nifti1Image(_ball(in_template).astype(np.uint8), own.affine), folder / "brain.nii.gz"
    )
    xfm = save_transform(from_matrix(LPS @ matrix @ LPS), folder / "to_mni.txt")

    @cache
    def harmonize(amount, outside="zero"):
        after = (amount * _wave(points)).astype(np.float32)
        result = Harmonized(before, after, SLOPE, INTERCEPT)
        return stored_on_native(
            result, mask, grid=GRID, to_mni_xfm=xfm, preproc=preproc, brain=brain, outside=outside
        )

    return harmonize, in_template


def _scaled(image):
    return image.get_fdata() * STORED_SLOPE + STORED_INTERCEPT


def test_geometry_of_the_header_stays(scan, back):
    raw, result = nib.load(scan[0]), back[0](1.0)
    assert result.shape == raw.shape
    np.testing.assert_array_equal(result.affine, raw.affine)
    for field in (
        "sform_code",
        "qform_code",
        "pixdim",
        "quatern_b",
        "qoffset_x",
        "srow_x",
        "srow_z",
        "xyzt_units",
    ):
        np.testing.assert_array_equal(result.header[field], raw.header[field], err_msg=field)
    assert result.get_data_dtype() == np.float32


def test_without_a_change_the_scan_comes_back_to_the_bit_of_a_float(scan, back):
    raw = nib.load(scan[0]).get_fdata()
    inside = _ball(back[1])
    expected = SLOPE * raw + INTERCEPT
    np.testing.assert_allclose(_scaled(back[0](0.0))[inside], expected[inside], atol=2e-6)


def test_a_change_comes_back_where_it_was_made_to_a_twentieth_of_a_millimetre(scan, back):
    harmonize, points = back
    change = _scaled(harmonize(1.0)) - _scaled(harmonize(0.0))
    deep = np.linalg.norm(points - np.array([0, -15, 5]), axis=-1) < 45
    np.testing.assert_allclose(change[deep], _wave(points)[deep], atol=0.02)
    # Least squares of what a shift s would do: change = wave - s . gradient.
    step = 0.5
    slopes = [(_wave(points + d) - _wave(points - d))[deep] / (2 * step) for d in step * np.eye(3)]
    shift, *_ = np.linalg.lstsq(-np.array(slopes).T, (change - _wave(points))[deep], rcond=None)
    assert np.abs(shift).max() < 0.05


def test_outside_is_kept_or_cleared_as_asked(scan, back):
    harmonize, points = back
    raw = nib.load(scan[0]).get_fdata()
    far = np.linalg.norm(points - np.array([0, -15, 5]), axis=-1) > 75
    assert far.sum() > 1000
    assert (harmonize(1.0).get_fdata()[far] == 0).all()
    kept = harmonize(1.0, outside="keep")
    np.testing.assert_allclose(_scaled(kept)[far], SLOPE * raw[far] + INTERCEPT, atol=2e-6)
    inside = _ball(points)
    np.testing.assert_array_equal(kept.get_fdata()[inside], harmonize(1.0).get_fdata()[inside])
