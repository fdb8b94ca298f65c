import numpy as np
import pytest

from bids_mmh.preprocess.images import image_like, to_array, to_sitk
from bids_mmh.preprocess.steps.bias import FAST_N4, N4Settings, divide_bias, estimate_log_bias, is_positive


@pytest.fixture(scope="module")
def shaded():
    """A ball of two tissues (100 and 160) under a smooth field of a factor of about 2."""
    x, y, z = np.indices((36, 36, 36)) / 35 * 2 - 1
    ball = x**2 + y**2 + z**2 < 0.8
    tissue = np.where(np.sin(9 * x) * np.sin(8 * y) * np.sin(7 * z) > 0, 100.0, 160.0)
    field = np.exp(0.35 * x - 0.2 * y**2 + 0.1 * z)
    noise = np.random.default_rng(0).normal(0, 2, ball.shape)
    image = np.where(ball, tissue * field + noise, 0).astype(np.float32)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    return to_sitk(image, affine), to_sitk(ball.astype(np.uint8), affine), field, ball, tissue


def test_field_is_found_and_tissues_become_flat(shaded):
    image, mask, field, ball, tissue = shaded
    log_bias = estimate_log_bias(image, mask, N4Settings(levels=3))
    found = to_array(log_bias)[ball]
    assert np.corrcoef(found, np.log(field)[ball])[0, 1] > 0.97
    corrected = to_array(divide_bias(image, log_bias))
    inside = ball & (tissue == 160)
    before, after = to_array(image)[inside], corrected[inside]
    assert after.std() / after.mean() < 0.4 * before.std() / before.mean()


def test_field_lies_where_n4_found_it():
    """SimpleITK stretches the field over the image that it is asked for, whichever it was estimated on."""
    x, y, z = np.indices((37, 38, 39)) * 3.0
    ball = (x - 54) ** 2 + (y - 56) ** 2 + (z - 57) ** 2 < 50**2
    slope = 0.004  # of the logarithm, a millimetre
    image = to_sitk(np.where(ball, 100 * np.exp(slope * x), 0).astype(np.float32), np.diag([3.0, 3, 3, 1]))
    mask = image_like(ball.astype(np.uint8), image)
    found = to_array(estimate_log_bias(image, mask, N4Settings(levels=1, iterations=200, work_mm=12.0)))
    fitted = np.polyfit(x[ball], found[ball], 1)[0]
    assert fitted == pytest.approx(slope, rel=0.05)


def test_unit_is_kept(shaded):
    image, mask, _, ball, _ = shaded
    log_bias = estimate_log_bias(image, mask, FAST_N4)
    assert to_array(log_bias)[ball].mean() == pytest.approx(0, abs=1e-5)
    corrected = to_array(divide_bias(image, log_bias))
    assert corrected[ball].mean() == pytest.approx(to_array(image)[ball].mean(), rel=0.1)


def test_field_goes_on_unchanged_beyond_its_edge():
    image = to_sitk(np.full((6, 6, 10), 8.0, dtype=np.float32), np.eye(4))
    part = image[:, :, 4:]
    log_bias = image_like(np.full((6, 6, 6), np.log(2), dtype=np.float32), part)
    np.testing.assert_allclose(to_array(divide_bias(image, log_bias)), 4.0, rtol=1e-6)


def test_a_scan_around_zero_is_left_as_it_is(shaded):
    image, mask, _, ball, _ = shaded
    centred = image_like(to_array(image) - np.float32(to_array(image)[ball].mean()), image)
    assert is_positive(image, mask)
    assert not is_positive(centred, mask)
    assert not to_array(estimate_log_bias(centred, mask, FAST_N4)).any()


def test_a_flat_scan_of_slowly_changing_contrast_is_not_made_worse():
    """Deep and outer tissue differ, as grey and white matter do: that is no field."""
    x, y, z = np.indices((44, 44, 44)) / 43 * 2 - 1
    radius = np.sqrt(x**2 + y**2 + z**2)
    ball, fine = radius < 0.9, np.sin(22 * x) * np.sin(20 * y) * np.sin(24 * z)
    tissue = np.where(fine > 0.9 * (radius - 0.45), 160.0, 100.0)
    noise = np.random.default_rng(0).normal(0, 3, ball.shape)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    image = to_sitk(np.where(ball, tissue + noise, 0).astype(np.float32), affine)
    found = to_array(estimate_log_bias(image, to_sitk(ball.astype(np.uint8), affine), N4Settings()))
    assert found[ball].std() < 0.05
