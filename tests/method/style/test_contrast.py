import numpy as np
import pytest
import torch

from bids_mmh.method.style.contrast import KNOTS, contrast_loss, contrast_part

SHAPE = (2, 1, 10, 12, 14)


@pytest.fixture
def brain(rng):
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[..., 1:9, 2:11, 1:12] = True
    return torch.where(mask, torch.rand(SHAPE, generator=rng) * 2 - 1, -1.0), mask


def ramp():
    """A field of brightness from left to right."""
    return torch.linspace(-0.2, 0.2, SHAPE[2]).view(1, 1, -1, 1, 1).expand(SHAPE)


def test_a_function_of_intensity_is_explained_whole(brain):
    image, mask = brain
    # bent at a knot
    for function in (lambda v: 0.3 * v - 0.1, lambda v: 0.2 * (v - 0.28125).clamp(min=0), torch.zeros_like):
        change = torch.where(mask, function(image), 5.0)
        part = contrast_part(image, change, mask)
        torch.testing.assert_close(part[mask], change[mask], atol=1e-4, rtol=0)
        assert not part[~mask].any()
        assert contrast_loss(image, image + change, mask).max() < 1e-7


def test_a_smooth_function_nearly(brain):
    image, mask = brain
    assert contrast_loss(image, (1.2 * image).tanh(), mask).max() < 1e-5


def test_a_field_and_a_grid_are_not(brain):
    image, mask = brain
    grid = 0.1 * (-1.0) ** torch.arange(SHAPE[2]).view(1, 1, -1, 1, 1).expand(SHAPE)
    for change in (ramp(), grid):
        spread = torch.stack([change[i][mask[i]].var(correction=0) for i in range(2)])
        torch.testing.assert_close(contrast_loss(image, image + change, mask), spread, rtol=0.15, atol=0)


def test_it_is_the_least_squares_fit(brain):
    """Against numpy on the hat functions written out."""
    image, mask = brain
    change = (ramp() + 0.3 * image.square())[:1]
    inside = mask[:1]
    knots = np.linspace(-1.5, 1.5, KNOTS)
    hats = np.maximum(0, 1 - np.abs(image[:1][inside].numpy()[:, None] - knots) / (knots[1] - knots[0]))
    heights = np.linalg.lstsq(hats, change[inside].numpy(), rcond=None)[0]
    np.testing.assert_allclose(contrast_part(image[:1], change, inside)[inside], hats @ heights, atol=1e-3)


def test_gradients_are_those_of_the_whole_expression(brain):
    """The fit is left out of the graph; finite differences say that nothing is lost."""
    image, mask = brain
    image, mask = image[:1].double(), mask[:1]
    moved = (image + ramp()[:1] * 0.5 + 0.1 * image.square()).requires_grad_()
    (gradient,) = torch.autograd.grad(contrast_loss(image, moved, mask).sum(), moved)
    direction = torch.where(mask, torch.sin(7 * image + 3 * ramp()[:1]), 0.0)
    step = 1e-2
    higher, lower = (contrast_loss(image, moved + sign * step * direction, mask) for sign in (1, -1))
    expected = float((higher - lower) / (2 * step))
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-3)


def test_samples_do_not_mix_and_an_empty_mask_explains_nothing(brain):
    image, mask = brain
    alone = contrast_part(image[1:], ramp()[1:], mask[1:])
    mask = torch.cat([torch.zeros_like(mask[:1]), mask[1:]])
    both = contrast_part(image, ramp(), mask)
    assert not both[0].any()
    assert torch.equal(both[1:], alone)
