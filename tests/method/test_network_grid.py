import pytest
import torch

from bids_mmh.method.network_grid import coarse_box, coarse_brain, coarse_mask, on_voxels

WHOLE = slice(None)


@pytest.fixture
def brain(rng):
    """A volume whose sides are no multiples of 2, and a round mask."""
    sides = [torch.linspace(-1, 1, side) for side in (17, 22, 19)]
    radius = torch.stack(torch.meshgrid(*sides, indexing="ij")).square().sum(0)
    mask = (radius < 0.7)[None, None]
    return torch.where(mask, torch.rand(mask.shape, generator=rng), -1.0), mask


def test_the_voxels_of_the_grid_are_left_as_they_are(brain):
    volume, mask = brain
    assert torch.equal(coarse_mask(mask, 1), mask)
    assert torch.equal(coarse_brain(volume, mask, 1), volume)
    assert torch.equal(on_voxels(volume, mask, 1), volume)


def test_cells_are_means_of_the_brain_in_them(brain):
    volume, mask = brain
    inside, cells = coarse_mask(mask, 2), coarse_brain(volume, mask, 2)
    assert inside.shape == cells.shape == (1, 1, 9, 11, 10)
    for place in [(4, 5, 5), *inside[0, 0].nonzero()[::50].tolist()]:
        cell = (0, 0, *(slice(2 * i, 2 * i + 2) for i in place))
        assert mask[cell].sum() > 4
        expected = volume[cell][mask[cell]].mean()
        torch.testing.assert_close(cells[(0, 0, *place)], expected)
    assert (cells[~inside] == -1).all()


def test_cells_that_are_brain_for_a_smaller_part_are_outside():
    mask = torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool)
    mask[..., :1, :2, :2] = True  # half of one cell
    mask[..., 2:, 2:, 2:] = True
    mask[..., 2, 2, 2] = False  # seven of the eight voxels of another
    assert coarse_mask(mask, 2).flatten().tolist() == 7 * [False] + [True]


def test_a_constant_change_is_constant_up_to_the_edge_of_the_brain(brain):
    _, mask = brain
    change = torch.where(coarse_mask(mask, 2), 0.3, 0.0)
    carried = on_voxels(change, mask, 2)
    assert carried.shape == mask.shape
    torch.testing.assert_close(carried[mask], torch.full_like(carried[mask], 0.3))


def test_a_linear_change_is_carried_without_loss(brain):
    _, mask = brain
    slope = torch.arange(22.0)[:, None].expand(1, 1, 17, 22, 19)
    inside = coarse_mask(mask, 2)
    change = torch.where(inside, coarse_brain(slope, torch.ones_like(mask), 2), 0.0)
    deep = (slice(0, 1), slice(0, 1), *(slice(side // 2 - 2, side // 2 + 3) for side in mask.shape[2:]))
    torch.testing.assert_close(on_voxels(change, mask, 2)[deep], slope[deep])


def test_a_voxel_far_from_every_cell_of_the_brain_stays():
    mask = torch.zeros(1, 1, 12, 12, 12, dtype=torch.bool)
    mask[..., :4, :4, :4] = True
    mask[..., 10, 10, 10] = True
    change = torch.where(coarse_mask(mask, 2), 0.3, 0.0)
    assert on_voxels(change, mask, 2)[0, 0, 10, 10, 10] == 0


def test_cells_of_a_box():
    box = (WHOLE, WHOLE, slice(16, 48), slice(0, 17), slice(None))
    assert coarse_box(box, 1) == box
    assert coarse_box(box, 2) == (WHOLE, WHOLE, slice(8, 24), slice(0, 9), slice(None))
