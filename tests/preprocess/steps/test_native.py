import nibabel as nib
import numpy as np
import pytest

from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.steps.native import change_on_native_voxels
from bids_mmh.preprocess.transforms import from_matrix, save_transform

GRID = model_grid(4.0)
LEFT = np.array([-40.0, -10.0, 20.0])  # RAS+ mm


def world(affine, shape):
    return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))


def blob(points, centre=LEFT, width=16.0):
    """A bright spot in the left half, at any points."""
    return np.exp(-((points - centre) ** 2).sum(axis=-1) / (2 * width**2)).astype(np.float32)


def ball(points):
    return ((points - np.array([0, -15, 5])) ** 2).sum(axis=-1) < 62**2


def native_file(path, codes="RAS", shift=(0.0, 0.0, 0.0)):
    """An empty 3 mm scan in some orientation, moved by ``shift`` mm from MNI."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = np.array([-80, -110, -80]) + shift
    image = nib.Nifti1Image(np.zeros((54, 64, 60), dtype=np.float32), affine)
    wanted = nib.orientations.axcodes2ornt(codes)
    nib.save(image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), wanted)), path)
    return nib.load(path)


def carry(tmp_path, change, mask, shift=(0.0, 0.0, 0.0)):
    # ITK's world is LPS: x and y turn their sign. The transform takes MNI points to the scan's.
    matrix = np.eye(4)
    matrix[:3, 3] = np.array(shift) * (-1, -1, 1)
    xfm = save_transform(from_matrix(matrix), tmp_path / "to_mni.txt")
    return change_on_native_voxels(change, mask, grid=GRID, to_mni_xfm=xfm, native=tmp_path / "native.nii.gz")


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "LAI"])
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (12.0, -9.0, 6.0)])
def test_a_change_lands_where_it_belongs_in_every_orientation(tmp_path, codes, shift):
    native = native_file(tmp_path / "native.nii.gz", codes, shift)
    points = world(GRID.affine, GRID.shape)
    moved = carry(tmp_path, blob(points), ball(points), shift)
    assert moved.shape == native.shape
    assert moved.dtype == np.float32
    own = world(native.affine, native.shape) - np.array(shift)
    deep = ((own - np.array([0, -15, 5])) ** 2).sum(axis=-1) < 50**2
    np.testing.assert_allclose(moved[deep], blob(own)[deep], atol=0.03)
    assert blob(own)[deep].max() > 0.9


def test_the_rim_of_the_mask_does_not_pull_the_change_towards_zero(tmp_path):
    native = native_file(tmp_path / "native.nii.gz")
    points = world(GRID.affine, GRID.shape)
    moved = carry(tmp_path, np.full(GRID.shape, 0.4, np.float32), ball(points))
    own = world(native.affine, native.shape)
    radius = np.sqrt(((own - np.array([0, -15, 5])) ** 2).sum(axis=-1))
    np.testing.assert_allclose(moved[radius < 66], 0.4, atol=1e-3)
    assert (moved[radius > 90] == 0).all()


def test_the_change_outside_the_mask_is_ignored(tmp_path):
    native_file(tmp_path / "native.nii.gz")
    points = world(GRID.affine, GRID.shape)
    mask = ball(points)
    change = np.where(mask, 0.2, 99.0).astype(np.float32)
    moved = carry(tmp_path, change, mask)
    assert moved.max() == pytest.approx(0.2, abs=1e-4)
