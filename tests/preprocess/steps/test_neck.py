import numpy as np

from bids_mmh.preprocess.images import to_array, to_sitk
from bids_mmh.preprocess.steps.neck import crop_neck


def _figure(neck_mm: int):
    """A head of radius 85 mm on a neck, 2.5 mm voxels, in noise."""
    n = (170 + neck_mm + 30) * 2 // 5
    x, y, z = np.indices((80, 80, n)) * 2.5
    centre = neck_mm + 85
    head = (x - 100) ** 2 + (y - 100) ** 2 + (z - centre) ** 2 < 85**2
    neck = ((x - 100) ** 2 + (y - 100) ** 2 < 50**2) & (z < centre)
    noise = np.random.default_rng(0).rayleigh(5, head.shape)
    return to_sitk((300.0 * (head | neck) + noise).astype(np.float32), np.diag([2.5, 2.5, 2.5, 1.0]))


def test_neck_goes_and_head_stays():
    image = _figure(neck_mm=120)
    cropped = crop_neck(image)
    kept = cropped.GetSize()[2] * 2.5
    assert 170 < kept - 30 < 190
    # The same voxels at the same place.
    bottom = image.GetSize()[2] - cropped.GetSize()[2]
    np.testing.assert_array_equal(to_array(cropped), to_array(image)[:, :, bottom:])
    assert cropped.GetOrigin()[2] == image.GetOrigin()[2] + 2.5 * bottom


def test_short_volumes_are_left_alone():
    image = _figure(neck_mm=0)
    assert crop_neck(image).GetSize() == image.GetSize()


def test_a_background_far_below_zero_changes_nothing():
    image = _figure(neck_mm=120)
    assert crop_neck(image - 1024.0).GetSize() == crop_neck(image).GetSize()
