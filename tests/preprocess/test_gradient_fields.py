import numpy as np
import pytest

from bids_mmh.preprocess.gradient_fields import (
    Edges,
    displaced,
    gradient_field,
    points_inside,
    refined,
    strongest_edges,
)
from bids_mmh.preprocess.images import to_sitk
from bids_mmh.preprocess.transforms import apply_matrix, voxels_to_world

AFFINE = np.array([[-3.0, 0, 0, 40], [0, 0, 4, -50], [0, 3, 0, -30], [0, 0, 0, 1]])  # not RAS+


def _blobs(matrix=None, contrast=1.0):
    """Smooth blobs at fixed places of LPS space, or moved by a matrix."""
    shape = (28, 26, 24)
    image = to_sitk(np.zeros(shape, np.float32), AFFINE)
    points = apply_matrix(voxels_to_world(image), np.indices(shape).reshape(3, -1))
    points = points if matrix is None else apply_matrix(np.linalg.inv(matrix), points)
    centres = apply_matrix(voxels_to_world(image), np.random.default_rng(3).uniform(6, 18, (3, 25)))
    widths = np.array([[4.0], [6.0], [8.0]])
    values = sum(np.exp(-0.5 * (((points - c[:, None]) / widths) ** 2).sum(axis=0)) for c in centres.T)
    return to_sitk((50 + contrast * 100 * values).reshape(shape).astype(np.float32), AFFINE)


@pytest.fixture(scope="module")
def edges():
    image = _blobs()
    mask = to_sitk(np.ones((28, 26, 24), np.uint8), AFFINE)
    points = points_inside(mask, 9.0, 3000, seed=0)
    return strongest_edges(gradient_field(image, 3.0), points)


@pytest.mark.parametrize(("axis", "uphill"), [(0, (1, 0, 0)), (1, (0, 0, 1)), (2, (0, -1, 0))])
def test_gradients_point_uphill_in_world_coordinates(axis, uphill):
    image = to_sitk(np.indices((20, 20, 20))[axis].astype(np.float32), AFFINE)
    centre = apply_matrix(voxels_to_world(image), np.full((3, 1), 9.5))
    found = gradient_field(image, 3.0).at(centre)[:, 0]
    np.testing.assert_allclose(found / np.linalg.norm(found), uphill, atol=1e-3)
    assert not gradient_field(image, 3.0).at(centre + 500).any()


def test_coherence_is_one_for_itself_whatever_the_contrast_and_a_third_for_anything(edges):
    assert edges.coherence(gradient_field(_blobs(contrast=-0.5), 3.0), np.eye(4)) > 0.99
    noise = np.random.default_rng(0).normal(size=(28, 26, 24)).astype(np.float32)
    assert abs(edges.coherence(gradient_field(to_sitk(noise, AFFINE), 3.0), np.eye(4)) - 1 / 3) < 0.1
    assert (
        Edges(edges.points + 500, edges.directions).coherence(gradient_field(_blobs(), 3.0), np.eye(4)) == 0
    )


def test_a_known_map_is_found_again(edges):
    truth = displaced(np.eye(4), np.array([4.0, -3, 2, 3, -4, 2]), np.array([5.0, -2, 1]))
    field = gradient_field(_blobs(truth, contrast=-1.0), 3.0)
    found = refined(edges, field, np.eye(4), width_mm=3.0)
    off = apply_matrix(found, edges.points) - apply_matrix(truth, edges.points)
    start = edges.points - apply_matrix(truth, edges.points)
    # Within about a third of a voxel of 3 mm: these edges are few and blurred.
    assert np.linalg.norm(off, axis=0).mean() < 0.3 * np.linalg.norm(start, axis=0).mean()


def test_a_map_is_not_changed_further_than_it_may_be(edges):
    truth = displaced(np.eye(4), np.array([0.0, 0, 0, 6, -5, 4]), np.zeros(3))
    field = gradient_field(_blobs(truth), 3.0)
    found = refined(edges, field, np.eye(4), width_mm=3.0, reach_mm=2.0)
    centre = edges.points.mean(axis=1, keepdims=True)
    moved = apply_matrix(found, centre) - centre
    assert 1.0 < np.abs(moved).max() <= 2.0


def test_scales_are_found_too_where_the_contrast_is_the_same(edges):
    truth = displaced(np.eye(4), np.array([3.0, -2, 1, 2, -3, 1, 4, -3, 2]), np.array([5.0, -2, 1]))
    field = gradient_field(_blobs(truth), 3.0)
    found = refined(edges, field, np.eye(4), width_mm=3.0, scaled=True)
    off = apply_matrix(found, edges.points) - apply_matrix(truth, edges.points)
    start = edges.points - apply_matrix(truth, edges.points)
    assert np.linalg.norm(off, axis=0).mean() < 0.3 * np.linalg.norm(start, axis=0).mean()
    assert edges.agreement(field, found) > 0.5
    assert edges.agreement(gradient_field(_blobs(truth, contrast=-1.0), 3.0), found) < -0.5


def test_the_size_of_a_gradient_counts_little_where_the_floor_is_low(edges):
    strong = edges.points[:, ::50]
    weak, full = (gradient_field(_blobs(), 3.0, edges.points, floor).at(strong) for floor in (10.0, 0.001))
    assert np.linalg.norm(weak, axis=0).max() < 0.5
    assert np.linalg.norm(full, axis=0).min() > 0.85  # between voxels


def test_points_keep_their_distance_from_the_edge_of_a_mask():
    data = np.zeros((30, 30, 30), np.uint8)
    data[5:25, 5:25, 5:25] = 1
    mask = to_sitk(data, np.diag([2.0, 2, 2, 1]))
    points = points_inside(mask, 6.0, 500, seed=1)
    voxels = apply_matrix(np.linalg.inv(voxels_to_world(mask)), points)
    assert voxels.min() >= 7.5 and voxels.max() <= 21.5
    assert points_inside(to_sitk(0 * data, np.eye(4)), 0.0, 10, seed=1).shape == (3, 0)
