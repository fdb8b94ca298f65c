import numpy as np
import pytest
import SimpleITK

from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import image_like, to_array, to_sitk
from bids_mmh.preprocess.steps.resample import (
    apply_mask,
    field_of_view,
    isotropic,
    resample_mask,
    resample_scan,
    smooth_to,
)

UNMOVED = SimpleITK.Transform()


def test_voxels_on_the_grid_come_back_unchanged():
    grid = model_grid(2.0)
    data = np.random.default_rng(0).normal(100, 20, grid.shape).astype(np.float32)
    image = to_sitk(data, grid.affine)
    np.testing.assert_allclose(to_array(resample_scan(image, grid.reference(), UNMOVED)), data, atol=0.01)


def test_a_ramp_is_interpolated_exactly_and_there_are_no_new_extremes():
    x = np.indices((60, 70, 60))[0]
    affine = np.eye(4)
    affine[:3, 3] = (-30, -35, -30)
    ramp = resample_scan(to_sitk(x.astype(np.float32), affine), model_grid(1.0).reference(), UNMOVED)
    # World x = 0.5 lies half-way between voxels 30 and 31.
    assert to_array(ramp)[72, 110, 86] == pytest.approx(30.5, abs=1e-3)
    step = resample_scan(
        to_sitk(100.0 * (x > 30).astype(np.float32), affine), model_grid(1.0).reference(), UNMOVED
    )
    assert (to_array(step).min(), to_array(step).max()) == (0.0, 100.0)


def test_coarse_grids_average_fine_structure():
    x = np.indices((80, 80, 80)).sum(axis=0)
    affine = np.eye(4)
    affine[:3, 3] = -40
    checkers = to_sitk(np.where(x % 2, 200.0, 0.0).astype(np.float32), affine)
    coarse = to_array(resample_scan(checkers, model_grid(4.0).reference(), UNMOVED))
    np.testing.assert_allclose(coarse[15:20, 22:27, 19:24], 100, atol=2)
    assert smooth_to(checkers, 1.0) is checkers


def test_mask_volume_survives_resampling():
    x, y, z = np.indices((60, 60, 60)) * 2.0 - 60
    ball = (x**2 + y**2 + z**2 < 45**2).astype(np.uint8)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -60
    on_grid = to_array(resample_mask(to_sitk(ball, affine), model_grid(1.0).reference(), UNMOVED))
    assert on_grid.dtype == np.uint8
    assert on_grid.sum() == pytest.approx(8 * ball.sum(), rel=0.01)


def test_field_of_view_and_masking():
    affine = np.eye(4)
    affine[:3, 3] = (-20, -20, 10)
    slab = to_sitk(np.full((40, 40, 12), 5.0, dtype=np.float32), affine)
    reference = model_grid(2.0).reference()
    view = field_of_view(slab, reference, UNMOVED)
    assert to_array(view).sum() == 20 * 20 * 6
    masked = to_array(apply_mask(resample_scan(slab, reference, UNMOVED), view))
    assert (masked[to_array(view) == 0] == 0).all()


def test_isotropic_copy_covers_the_same_field_of_view():
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    x = np.indices((80, 80, 12))[0] * 0.5
    image = to_sitk(x.astype(np.float32), affine)
    copy = isotropic(image, 2.0)
    assert copy.GetSpacing() == (2.0, 2.0, 2.0)
    assert copy.GetSize() == (20, 20, 18)
    # World x is the intensity: it must be the same at the same place, away from the smoothed edges.
    index = (10, 10, 9)
    world_x = -copy.TransformIndexToPhysicalPoint(index)[0]
    assert to_array(copy)[index] == pytest.approx(world_x, abs=0.05)


def test_what_is_computed_here_is_what_simpleitk_computes():
    rng = np.random.default_rng(0)
    affine = np.diag([1.2, 0.9, 2.5, 1.0])
    affine[:3, 3] = (-30, -25, -20)
    image = to_sitk(rng.normal(100, 20, (50, 60, 20)).astype(np.float32), affine)
    turned = SimpleITK.AffineTransform(3)
    turned.Rotate(0, 1, 0.2)
    turned.Translate((3.0, -2.0, 1.0))
    reference = model_grid(4.0).reference()
    for spacing, lowest in ((4.0, 2.0), (2.0, 0.5)):
        reference = model_grid(spacing).reference()
        fwhm = [np.sqrt(max(0.0, spacing**2 - size**2)) for size in image.GetSpacing()]
        variance = [(width / 2.355) ** 2 for width in fwhm]
        smooth = SimpleITK.DiscreteGaussian(image, variance, 64, 0.01, True)
        np.testing.assert_allclose(to_array(smooth_to(image, spacing)), to_array(smooth), atol=1e-3)
        spline = SimpleITK.Resample(smooth, reference, turned, SimpleITK.sitkBSpline, 0.0)
        wanted = np.clip(to_array(spline), 0, to_array(image).max())
        found = to_array(resample_scan(image, reference, turned))
        assert (found > 0).sum() > lowest * 1000
        np.testing.assert_allclose(found, wanted, atol=2e-3)
        part = to_array(field_of_view(image, reference, turned))
        part[:20] = 0
        inside = to_array(resample_scan(image, reference, turned, image_like(part, reference)))
        np.testing.assert_array_equal(inside, np.where(part, found, 0))
