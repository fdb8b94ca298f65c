import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_mmh.evaluation.metrics.anatomical_change import (
    THRESHOLD,
    anatomical_change,
    anatomical_change_map,
)

SHAPE = (48, 48, 48)
MASK = np.zeros(SHAPE, dtype=bool)
MASK[4:44, 4:44, 4:44] = True


@pytest.fixture
def brain():
    """Two tissues in folds of a few voxels, with noise."""
    rng = np.random.default_rng(1)
    folds = np.where(gaussian_filter(rng.standard_normal(SHAPE), 3) > 0, 0.6, -0.2)
    image = gaussian_filter(folds, 0.7) + 0.02 * rng.standard_normal(SHAPE)
    return np.where(MASK, image, -1).astype(np.float32)


def number(before, after):
    return anatomical_change(anatomical_change_map(before, after, MASK), MASK)


def test_contrast_and_field_are_no_change_of_anatomy(brain):
    field = np.linspace(0.8, 1.2, SHAPE[0], dtype=np.float32).reshape(-1, 1, 1)
    after = np.where(MASK, (0.7 * brain + 0.3) * field, -1)
    assert number(brain, after) < 0.05
    assert number(brain, brain) < 0.02


def test_a_curve_that_is_steeper_above_grey_matter_is_none():
    rng = np.random.default_rng(3)
    folds = gaussian_filter(rng.standard_normal(SHAPE), 3)
    tissue = np.digitize(folds / folds.std(), (-0.5, 0.5))  # fluid between grey and white, in folds
    image = gaussian_filter(np.array([-0.7, 0.0, 0.5])[tissue], 0.7).astype(np.float32)
    after = np.interp(image, (-0.7, 0.0, 0.5), (-0.8, 0.2, 0.4)).astype(np.float32)
    assert number(np.where(MASK, image, -1), np.where(MASK, after, -1)) < 0.8 * THRESHOLD


def test_noise_that_is_taken_away_is_none_either(brain):
    noisy = np.where(MASK, brain + 0.08 * np.random.default_rng(2).standard_normal(SHAPE), -1)
    assert number(noisy.astype(np.float32), brain) < THRESHOLD / 2


@pytest.mark.parametrize("erased", [True, False])
def test_a_lesion_of_four_voxels_radius_is_found_where_it_is(brain, erased):
    distance = np.sqrt(sum((axis - 24.0) ** 2 for axis in np.indices(SHAPE)))
    hurt = np.where(distance < 4, brain - 0.9, brain).astype(np.float32)
    before, after = (hurt, brain) if erased else (brain, hurt)
    change = anatomical_change_map(before, after, MASK)
    assert anatomical_change(change, MASK) > THRESHOLD
    assert distance[np.unravel_index(np.abs(change).argmax(), SHAPE)] < 5


def test_shifted_borders_are_found(brain):
    after = brain.copy()
    after[14:34, 14:34, 14:34] = brain[12:32, 14:34, 14:34]
    assert number(brain, after) > THRESHOLD
