from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_mmh.preprocess.images import to_sitk
from bids_mmh.preprocess.transforms import from_matrix, save_transform


@pytest.fixture(scope="module")
def measures(load_benchmark):
    return load_benchmark("preprocessing/measures")


@pytest.fixture(scope="module")
def copies(load_benchmark):
    return load_benchmark("preprocessing/copies")


@pytest.fixture(scope="module")
def phantoms(load_benchmark):
    return load_benchmark("preprocessing/phantoms")


@pytest.fixture(scope="module")
def coarse(phantom, phantoms):
    """A coarse phantom's T1w and what is true about it."""
    anat = Path("sub-001", "ses-site01", "anat")
    stem = phantom / "derivatives" / "truth" / anat / "sub-001_ses-site01"
    path = phantom / anat / "sub-001_ses-site01_T1w.nii.gz"
    return nib.load(path), phantoms.Truth(stem, "T1w"), path


def _ball(radius, spacing=1.5, shift=0.0):
    x, y, z = np.indices((60, 60, 60)) * spacing - 45
    inside = (x - shift) ** 2 + y**2 + z**2 < radius**2
    return to_sitk(inside.astype(np.uint8), np.diag([spacing, spacing, spacing, 1.0]))


def test_surfaces_of_balls_are_apart_as_their_radii(measures):
    assert measures.surface_distance(_ball(30), _ball(30)) == 0
    assert measures.surface_distance(_ball(30), _ball(36)) == pytest.approx(6, abs=1.5)
    assert measures.surface_distance(_ball(30), _ball(30, shift=4.5)) == pytest.approx(4.5, abs=1.0)


def test_distances_are_those_of_a_known_shift(measures):
    shift = np.eye(4)
    shift[:3, 3] = 3, 0, 4
    np.testing.assert_allclose(measures.distances(shift, np.eye(4), measures.landmarks()), 5)
    np.testing.assert_array_equal(measures.lps(shift)[:3, 3], [-3, 0, 4])


def test_the_way_back_is_exact_and_a_shift_would_show(measures, tmp_path, monkeypatch):
    affine = np.array([[-3.0, 0, 0, 60], [0, 2.8, 0.4, -60], [0, -0.4, 2.8, -50], [0, 0, 0, 1]])
    shape = (40, 40, 38)
    inside = np.zeros(shape, np.uint8)
    inside[6:-6, 6:-6, 6:-6] = 1
    for name, data in (("preproc", inside.astype(np.float32)), ("mask", inside)):
        nib.save(nib.Nifti1Image(data, affine), tmp_path / f"native_{name}.nii.gz")
    save_transform(from_matrix(np.array(np.diag([1.1, 0.9, 1.0, 1.0]))), tmp_path / "to_mni_xfm.txt")
    outcome = measures.Outcome(tmp_path, tmp_path, {})
    shift, percent = measures.native_round_trip(outcome)
    assert shift < 0.005
    assert percent < 3
    back = measures.change_on_native_voxels
    monkeypatch.setattr(
        measures,
        "change_on_native_voxels",
        lambda *args, **options: ndimage.shift(back(*args, **options), (0.3, 0, 0), order=3, mode="nearest"),
    )
    assert measures.native_round_trip(outcome)[0] == pytest.approx(0.9, abs=0.1)


def test_a_head_is_off_an_affine_map_by_its_own_shape(measures, coarse):
    _, truth, _ = coarse
    linear = measures.template_to_scan(truth.from_template)
    own_shape = measures.shape_residual(linear, linear, truth.shape)
    assert 1 < own_shape < 8
    shifted = linear.copy()
    shifted[:3, 3] += 30
    assert measures.shape_residual(shifted, linear, truth.shape) > 40


@pytest.mark.parametrize("kind", ["moved", "resampled"])
def test_copies_show_the_same_brain_where_they_say(copies, tmp_path, kind):
    data = np.zeros((40, 44, 48), np.float32)
    data[12, 30, 20] = data[25, 10, 33] = 1
    data = ndimage.gaussian_filter(data, 2)
    affine = np.array([[0, -2.0, 0, 40], [2.0, 0, 0, -30], [0, 0, 2.5, 5], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "scan.nii.gz")
    motion = getattr(copies, kind)(tmp_path / "scan.nii.gz", tmp_path / "copy.nii.gz", number=1)
    copy = nib.load(tmp_path / "copy.nii.gz")
    assert not np.allclose(copy.affine, affine)
    for voxel in ((12, 30, 20), (25, 10, 33)):
        place = (motion @ affine @ [*voxel, 1])[:3]
        values = copy.get_fdata()
        near = nib.affines.apply_affine(copy.affine, np.argwhere(values > 0.5 * values.max()))
        assert np.linalg.norm(near - place, axis=1).min() < 2


def test_difficulties_have_names_of_their_own_and_change_what_they_say(phantoms, coarse):
    image, truth, _ = coarse
    names = [case.name for case in phantoms.difficulties(5)]
    assert len(set(names)) == len(names)
    brain = phantoms.voxels(truth.brain) > 0
    raw = image.get_fdata()
    stripped = phantoms.stripped(image, truth).get_fdata()
    assert not stripped[~brain].any()
    np.testing.assert_array_equal(stripped[brain], raw[brain])
    defaced = phantoms.defaced(image, truth).get_fdata()
    np.testing.assert_array_equal(defaced[brain], raw[brain])
    assert 0.01 < (defaced != raw).mean() < 0.3
    longer = phantoms.shoulders(image, truth)
    up = nib.aff2axcodes(longer.affine).index("S")
    assert longer.shape[up] > image.shape[up]
    assert nib.aff2axcodes(longer.affine) == nib.aff2axcodes(image.affine)


def test_an_mp2rage_has_bright_noise_outside_and_tissue_inside(phantoms, coarse):
    image, truth, _ = coarse
    values, brain = phantoms.mp2rage(image, truth).get_fdata(), phantoms.voxels(truth.brain) > 0
    outside = np.r_[values[:3].ravel(), values[-3:].ravel()]
    assert outside.std() > 2 * values[brain].std()
    reference = phantoms.voxels(truth.reference)
    assert np.corrcoef(values[brain], reference[brain])[0, 1] > 0.9
