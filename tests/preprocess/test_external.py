import nibabel as nib
import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.external import (
    check_same_scan,
    linear_transform,
    mask_on_scan,
    on_same_voxels,
    refusal,
)
from bids_mmh.preprocess.images import to_array, to_sitk
from bids_mmh.preprocess.transforms import from_matrix, save_transform, to_matrix

AFFINE = nib.affines.from_matvec(np.diag([3.0, 3.0, 3.0]), [-90, -90, -90])


def _points(shape=(60, 60, 60), affine=AFFINE):
    return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))


def _ball(centre=(0, 0, 0), radius=65, **where):
    return (np.linalg.norm(_points(**where) - np.array(centre), axis=-1) < radius).astype(np.uint8)


def _head(seed=0):
    """A textured ball on a blank background."""
    from scipy import ndimage

    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 60, 60)), 2)
    return np.where(_ball(radius=80), 100 + 300 * texture, 0).astype(np.float32)


@pytest.fixture
def scan():
    return to_sitk(_head(), AFFINE)


def test_a_mask_on_the_scans_voxels_stays_as_it_is_in_any_order_of_axes(scan, save):
    path = save(_ball(), AFFINE)
    np.testing.assert_array_equal(to_array(mask_on_scan(path, scan)), _ball())
    flipped = nib.Nifti1Image(_ball((9, 6, 3)), AFFINE).as_reoriented([[2, -1], [0, 1], [1, -1]])
    nib.save(flipped, path)
    np.testing.assert_array_equal(to_array(mask_on_scan(path, scan)), _ball((9, 6, 3)))


def test_a_mask_on_other_voxels_of_the_same_world_is_resampled(scan, save):
    affine = nib.affines.from_matvec(np.diag([2.0, 2.0, 2.0]), [-80, -80, -80])
    path = save(_ball((6, 0, 0), shape=(80, 80, 80), affine=affine), affine)
    found = to_array(mask_on_scan(path, scan)) > 0
    truth = _ball((6, 0, 0)) > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.98


@pytest.mark.parametrize(
    ("mask", "affine", "reason"),
    [
        (_ball(radius=20), AFFINE, "which is no brain"),
        (_ball(), nib.affines.from_matvec(np.diag([3.0, 3.0, 3.0]), [-10, -90, -90]), "lies inside the scan"),
        (np.zeros((60, 60, 60), np.uint8), AFFINE, "same value 0"),
    ],
)
def test_masks_that_cannot_be_the_scans_are_refused_with_a_reason(scan, save, mask, affine, reason):
    with pytest.raises(BadDataError, match=reason):
        mask_on_scan(save(mask, affine), scan)


def test_a_mask_beside_the_head_is_refused(save):
    # The head fills one side of the scan, the mask lies on the other.
    beside = to_sitk(np.where(_points()[..., 0] < -30, 100, 0).astype(np.float32), AFFINE)
    with pytest.raises(BadDataError, match="blank background"):
        mask_on_scan(save(_ball((20, 0, 0)), AFFINE), beside)


def test_a_mask_that_does_not_fit_a_stripped_scan_is_refused(save):
    stripped = to_sitk(np.where(_ball(), _head(), 0).astype(np.float32), AFFINE)
    mask_on_scan(save(_ball((3, 0, 0)), AFFINE), stripped)
    with pytest.raises(BadDataError, match="stripped scan"):
        mask_on_scan(save(_ball((21, 0, 0)), AFFINE), stripped)


def test_a_corrected_copy_is_the_same_scan_and_another_head_is_not(scan):
    slope = to_sitk((_head() * (1 + 0.3 * _points()[..., 1] / 90)).astype(np.float32), AFFINE)
    check_same_scan(slope, scan)
    with pytest.raises(BadDataError, match="same head"):
        check_same_scan(to_sitk(_head(seed=1), AFFINE), scan)
    away = AFFINE.copy()
    away[:3, 3] += 400
    with pytest.raises(BadDataError, match="elsewhere"):
        check_same_scan(to_sitk(_head(), away), scan)


def test_voxels_are_the_same_to_a_hundredth(scan):
    near, far = AFFINE.copy(), AFFINE.copy()
    near[0, 3] += 0.01
    far[0, 3] += 0.1
    assert on_same_voxels(to_sitk(_head(), near), scan)
    assert not on_same_voxels(to_sitk(_head(), far), scan)
    assert not on_same_voxels(to_sitk(_head()[1:], AFFINE), scan)


def test_linear_transforms_are_taken_and_others_refused(tmp_path):
    import SimpleITK

    matrix = np.diag([1.1, 0.9, 1.0, 1.0])
    matrix[:3, 3] = 5, 6, 7
    path = save_transform(from_matrix(matrix), tmp_path / "good.txt")
    np.testing.assert_allclose(to_matrix(linear_transform(path)), matrix)
    for name, wrong in (("mirror", np.diag([-1.0, 1, 1, 1])), ("stretch", np.diag([2.0, 1, 1, 1]))):
        with pytest.raises(BadDataError, match="mirrors the brain, or stretches"):
            linear_transform(save_transform(from_matrix(wrong), tmp_path / f"{name}.txt"))
    (tmp_path / "text.txt").write_text("1 0 0 0")
    with pytest.raises(BadDataError, match="no transform that ITK reads"):
        linear_transform(tmp_path / "text.txt")
    warp = SimpleITK.BSplineTransformInitializer(SimpleITK.Image([9, 9, 9], SimpleITK.sitkUInt8), [2, 2, 2])
    SimpleITK.WriteTransform(warp, str(tmp_path / "warp.txt"))
    with pytest.raises(BadDataError, match="not linear"):
        linear_transform(tmp_path / "warp.txt")


def test_a_refusal_is_one_sentence():
    sentence = refusal("brain mask", "bids:mine:x.nii.gz", BadDataError("it is empty."))
    assert sentence == (
        "The brain mask bids:mine:x.nii.gz was not used, because it is empty: the step was done here."
    )
