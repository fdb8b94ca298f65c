import pytest
import torch

from bids_mmh.training.slice_encoder.random_styles import AcquisitionStyle, apply_style, draw_style

LINE = torch.linspace(0, 1, 7)


@pytest.fixture
def slices(rng):
    slices = torch.rand(3, 1, 32, 32, generator=rng) * 0.6 + 0.2
    slices[..., :4, :] = 0
    return slices


def test_curves_rise(rng):
    for _ in range(20):
        curve = draw_style(rng).curve
        assert (curve.diff() > 0).all()
        assert 0 <= curve[0] < curve[-1] <= 1.05


def test_some_styles_have_blur_bias_and_noise_and_some_not(rng):
    styles = [draw_style(rng) for _ in range(200)]
    for name in ("blur", "bias", "noise"):
        assert 25 < sum(getattr(style, name) > 0 for style in styles) < 75


def test_a_style_that_does_nothing(slices, rng):
    assert torch.allclose(apply_style(slices, AcquisitionStyle(LINE, 0, 0, 0), rng), slices, atol=1e-6)


def test_curve_is_followed_and_order_kept(slices, rng):
    curve = LINE.sqrt()
    seen = apply_style(slices, AcquisitionStyle(curve, 0, 0, 0), rng)
    at = torch.full((1, 1, 2, 2), 0.75)
    assert apply_style(at, AcquisitionStyle(curve, 0, 0, 0), rng).mean() == pytest.approx(
        float((curve[4] + curve[5]) / 2), abs=1e-6
    )
    brain = slices > 0
    assert torch.equal(seen[brain].argsort(), slices[brain].argsort())


@pytest.mark.parametrize("name", ["blur", "bias", "noise"])
def test_background_stays(slices, rng, name):
    values = {"blur": 0.0, "bias": 0.0, "noise": 0.0, name: 0.5}
    seen = apply_style(slices, AcquisitionStyle(LINE, **values), rng)
    assert (seen[slices == 0] == 0).all()
    assert not torch.allclose(seen, slices)
    assert seen.min() >= 0
    assert seen.max() <= 1.2


def test_blur_smooths_and_noise_roughens(slices, rng):
    def roughness(x):
        return float(x[..., 6:-6, 6:-6].diff(dim=-1).abs().mean())

    assert roughness(apply_style(slices, AcquisitionStyle(LINE, 1.0, 0, 0), rng)) < 0.6 * roughness(slices)
    flat = torch.full((1, 1, 32, 32), 0.5)
    assert roughness(apply_style(flat, AcquisitionStyle(LINE, 0, 0, 0.05), rng)) > 0.03


def test_blur_does_not_darken_the_rim(rng):
    flat = torch.zeros(1, 1, 32, 32)
    flat[..., 8:24, 8:24] = 0.6
    seen = apply_style(flat, AcquisitionStyle(LINE, 1.0, 0, 0), rng)
    assert torch.allclose(seen[flat > 0], torch.tensor(0.6), atol=1e-4)
