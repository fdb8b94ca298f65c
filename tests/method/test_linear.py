import pytest
import torch

from bids_mmh.method.linear import along_axes, cut_frequencies, enlarged, gaussian, slices

SIDE = 40


@pytest.mark.parametrize(
    "operator", [gaussian(SIDE, 1.5), slices(SIDE, 3.0, 0.3), cut_frequencies(SIDE, 1.5, 0.2)]
)
def test_a_flat_image_stays_flat(operator):
    torch.testing.assert_close(operator.sum(1), torch.ones(SIDE), atol=1e-4, rtol=0)


def test_each_axis_has_its_own_operator():
    image = torch.randn(1, 1, 5, 6, 7)
    first, last = torch.randn(5, 5), torch.randn(7, 7)
    expected = torch.einsum("ab,xybcd,de->xyace", first, image, last.T)
    torch.testing.assert_close(along_axes(image, [first, None, last]), expected)


@pytest.mark.parametrize("shape", [(24, 30, 33), (5, 6, 7), (31, 6, 20)])
def test_an_image_is_enlarged_as_pytorch_does(shape):
    image = torch.randn(2, 3, 5, 6, 7)
    expected = torch.nn.functional.interpolate(image, size=shape, mode="trilinear", align_corners=False)
    torch.testing.assert_close(enlarged(image, shape), expected, atol=1e-5, rtol=0)


def test_widths():
    row = gaussian(SIDE, 2.0)[20]
    place = torch.arange(SIDE) - 20.0
    assert float((row * place.square()).sum().sqrt()) == pytest.approx(2.0, rel=0.02)
    assert gaussian(SIDE, 0.1) is None


def test_slices_average_over_their_thickness():
    """An edge becomes as wide as a slice, a pattern finer than slices vanishes."""
    operator = slices(SIDE, 4.0, 0.0)
    fine = torch.tensor([1.0, -1.0] * (SIDE // 2))
    assert (operator @ fine).abs()[4:-4].max() < 0.15
    edge = operator @ (torch.arange(SIDE) >= 20).float()
    assert 2 <= int(((edge > 0.1) & (edge < 0.9)).sum()) <= 6


def test_a_sharp_cut_rings_and_a_soft_one_hardly():
    edge = ((torch.arange(SIDE) >= 10) & (torch.arange(SIDE) < 30)).float()
    overshoot = [float((cut_frequencies(SIDE, 1.6, soft) @ edge).max() - 1) for soft in (0.02, 0.9)]
    assert overshoot[0] > 0.05 > overshoot[1]
