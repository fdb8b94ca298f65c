import numpy as np
import pytest

from bids_mmh.phantom.head.deformation import (
    DISPLACEMENT_GRID,
    draw_displacement,
    rigid,
    scaling,
    template_voxels,
)
from bids_mmh.phantom.head.grid import HEAD


def test_rigid_is_a_rotation_and_a_shift():
    matrix = rigid(np.array([3.0, -5.0, 8.0]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(matrix[:3, 3], [1, 2, 3])


def test_template_voxels_of_an_affine_map_are_exact():
    matrix = rigid(np.array([4.0, 2.0, -6.0]), np.array([-20.0, 5.0, 10.0])) @ scaling(
        np.array([1.1, 0.9, 2])
    )
    out = template_voxels((10, 13, 9), matrix, np.zeros((3, *DISPLACEMENT_GRID.shape), np.float32))
    point = matrix @ [7, 11, 8, 1]
    np.testing.assert_allclose(out[:, 7, 11, 8], point[:3] - HEAD.origin, atol=1e-3)


def test_displacement_is_added_in_template_space():
    shift = np.zeros((3, *DISPLACEMENT_GRID.shape), np.float32)
    shift[1] = 2.5
    out = template_voxels((5, 5, 5), np.eye(4), shift) - template_voxels((5, 5, 5), np.eye(4), 0 * shift)
    np.testing.assert_allclose(out[1], 2.5, atol=1e-3)
    np.testing.assert_allclose(out[[0, 2]], 0, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_displacement_neither_folds_nor_hides_an_affine_part(average_head, seed):
    field = draw_displacement(np.random.default_rng(seed), average_head.ventricles, widening=2.0)
    jacobian = np.stack([np.stack(np.gradient(c, DISPLACEMENT_GRID.spacing), -1) for c in field], -2)
    assert np.linalg.det(np.eye(3) + jacobian).min() > 0.1
    x, y, z = np.broadcast_arrays(*DISPLACEMENT_GRID.axes())
    brain = (x / 75) ** 2 + ((y + 17) / 92) ** 2 + ((z - 10) / 75) ** 2 < 1
    assert np.abs(field[:, brain].mean(axis=1)).max() < 1e-3
    assert 0.5 < field[:, brain].std() < 4


def test_widening_moves_the_walls_of_the_ventricles_outwards(average_head):
    wide, narrow = (
        draw_displacement(np.random.default_rng(0), average_head.ventricles, widening)
        for widening in (2.0, -2.0)
    )
    outwards = np.stack(np.gradient(average_head.ventricles, DISPLACEMENT_GRID.spacing))
    wall = (average_head.ventricles > 3) & (average_head.ventricles < 8)
    # The map runs backwards: a wider ventricle is sampled further inwards.
    assert ((wide - narrow) * outwards).sum(axis=0)[wall].mean() < -1
