import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from bids_mmh.method.diffusion.patch_artifact import without_grid

SHAPE = (1, 1, 30, 32, 34)
MIDDLE = (slice(None), slice(None), slice(12, 18), slice(12, 20), slice(12, 22))


def alternating(*axes):
    """±1 of period 2 along some of the axes."""
    pattern = torch.ones(SHAPE)
    for axis in axes:
        signs = (-1.0) ** torch.arange(SHAPE[axis + 2])
        pattern = pattern * signs.view([-1 if i == axis + 2 else 1 for i in range(5)])
    return pattern


@pytest.fixture
def mask():
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[..., 2:28, 2:30, 1:33] = True
    return inside


@pytest.fixture
def smooth(rng):
    """A change as anatomy makes it: nothing at the period of the patches."""
    return F.avg_pool3d(torch.randn(SHAPE, generator=rng), 5, stride=1, padding=2)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_every_pattern_of_the_patches_goes_and_the_rest_stays(mask, smooth, axes):
    left = without_grid(smooth + 0.5 * alternating(*axes), mask, 2)
    error = (left - smooth).square()
    assert error[mask].mean().sqrt() < 0.06  # of a pattern of 0.5; at the edge of the brain some remains
    assert error[MIDDLE].mean().sqrt() < 0.01
    assert not left[~mask].any()


def test_a_pattern_may_differ_from_place_to_place(mask):
    strength = torch.linspace(0, 0.4, SHAPE[2]).view(1, 1, -1, 1, 1)
    left = without_grid(strength * alternating(0, 2), mask, 2)
    assert left[MIDDLE].abs().max() < 0.01
    assert left[mask].abs().mean() < 0.12 * (strength * torch.ones(SHAPE))[mask].mean()


def test_a_constant_change_and_a_field_stay_in_the_middle_of_the_brain(mask):
    field = torch.linspace(-0.2, 0.2, SHAPE[3]).view(1, 1, 1, -1, 1).expand(SHAPE)
    for change in (torch.full(SHAPE, 0.3), field):
        torch.testing.assert_close(without_grid(change, mask, 2)[MIDDLE], change[MIDDLE], atol=1e-3, rtol=0)


def test_networks_on_voxels_have_no_patches(mask, smooth):
    assert torch.equal(without_grid(smooth, mask, 1), torch.where(mask, smooth, 0.0))


def test_other_patches_are_refused(mask, smooth):
    with pytest.raises(ValueError, match="patch is 4"):
        without_grid(smooth, mask, 4)
