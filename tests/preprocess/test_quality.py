import numpy as np
import pytest

from bids_mmh.preprocess.images import to_sitk
from bids_mmh.preprocess.quality import correlation, dice, quality

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def _ball(shift=0):
    x, y, z = np.indices((80, 80, 80)) * 2.0 - 79
    return ((x - shift) ** 2 + y**2 + z**2 < 70**2).astype(np.uint8)


def _texture():
    return np.random.default_rng(0).normal(100, 10, (80, 80, 80)).astype(np.float32)


def _measure(image, mask=None, whole=None, sequence="T1w"):
    ball = to_sitk(_ball(), AFFINE)
    return quality(
        sequence,
        native_mask=ball,
        mni_image=to_sitk(image, AFFINE),
        mni_mask=ball if mask is None else to_sitk(mask, AFFINE),
        whole_mni_mask=ball if whole is None else to_sitk(whole, AFFINE),
        template=to_sitk(_texture(), AFFINE),
        template_mask=ball,
    )


def test_correlation_ignores_gain_and_what_lies_outside():
    outside = _texture()
    outside[_ball() == 0] = -1e4
    mask = to_sitk(_ball(), AFFINE)
    pair = to_sitk(3 * outside - 50, AFFINE), to_sitk(_texture(), AFFINE)
    assert correlation(*pair, mask) == pytest.approx(1.0)
    assert correlation(pair[0], to_sitk(np.ones_like(outside), AFFINE), mask) == 0.0


def test_dice_of_shifted_and_empty_masks():
    a, b = to_sitk(_ball(), AFFINE), to_sitk(_ball(200), AFFINE)
    assert dice(a, a) == 1.0
    assert dice(a, b) == 0.0
    assert dice(b, b) == 0.0


def test_a_good_scan_has_no_warning():
    figures = _measure(_texture())
    assert figures["warnings"] == []
    assert figures["covered_fraction"] == 1.0
    assert figures["mask_volume_ml"] == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.01)


def test_each_fault_has_its_sentence():
    unlike = _measure(_texture()[::-1])
    assert "correlates" in unlike["warnings"][0]
    assert _measure(_texture()[::-1], sequence="T2w")["warnings"] == []
    half = _ball()
    half[:, :, :40] = 0
    assert any("covers 50 %" in w for w in _measure(_texture(), mask=half)["warnings"])
    assert any("Dice" in w for w in _measure(_texture(), whole=_ball(40))["warnings"])
