import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.anatomy import anatomy_preservation


@pytest.fixture(scope="module")
def brain():
    """A smooth random volume in a ball, background at -1."""
    grid = np.indices((32, 36, 34)) - np.array([16, 18, 17])[:, None, None, None]
    mask = (grid**2).sum(axis=0) < 14**2
    field = gaussian_filter(np.random.default_rng(1).standard_normal(mask.shape), 2)
    return np.where(mask, field / np.abs(field).max(), -1).astype(np.float32), mask


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.4, 0.3), (2.5, -1.0)])
def test_linear_rescaling_keeps_the_anatomy(brain, scale, offset):
    volume, mask = brain
    assert anatomy_preservation(volume, scale * volume + offset, mask) == pytest.approx(1.0, abs=1e-5)


def test_worse_outputs_score_lower(brain):
    volume, mask = brain
    shifted = [anatomy_preservation(volume, shift(volume, (voxels, 0, 0)), mask) for voxels in (1, 2, 4)]
    assert 0.99 > shifted[0] > shifted[1] > shifted[2]


def test_unrelated_image_scores_about_zero(brain):
    volume, mask = brain
    other = gaussian_filter(np.random.default_rng(9).standard_normal(mask.shape), 2)
    assert abs(anatomy_preservation(volume, other, mask)) < 0.2


def test_the_step_at_the_rim_of_the_brain_does_not_count(brain):
    _, mask = brain
    # Both share that step, nothing else: with it the correlation would be high.
    noise = np.random.default_rng(2).uniform(-0.05, 0.05, (2, *mask.shape))
    first, second = (np.where(mask, 1 + each, -1) for each in noise)
    assert abs(anatomy_preservation(first, second, mask)) < 0.1


def test_value_of_the_formula_on_ramps():
    x, y = np.meshgrid(np.arange(9.0), np.arange(9.0), indexing="ij")
    before = np.repeat((x**2 / 2)[..., None], 5, axis=2)
    after = np.repeat((x**2 / 2 + y**2)[..., None], 5, axis=2)
    x, y = x[1:8, 1:8], y[1:8, 1:8]
    # Gradients (x, 0) and (x, 2y).
    expected = (x * x).sum() / np.sqrt((x**2).sum() * (x**2 + 4 * y**2).sum())
    assert anatomy_preservation(before, after, np.ones(before.shape, bool)) == pytest.approx(
        expected, abs=1e-6
    )


def test_inverted_contrast_turns_the_sign(brain):
    volume, mask = brain
    assert anatomy_preservation(volume, 0.1 - 0.5 * volume, mask) == pytest.approx(-1.0, abs=1e-5)


def test_flat_output_scores_zero(brain):
    volume, mask = brain
    assert anatomy_preservation(volume, np.full_like(volume, 0.2), mask) == 0.0


def test_input_that_cannot_be_compared_is_refused(brain):
    volume, mask = brain
    with pytest.raises(BadDataError, match="one 3-D grid"):
        anatomy_preservation(volume, volume[1:], mask)
    with pytest.raises(BadDataError, match="empty"):
        anatomy_preservation(volume, volume, np.zeros_like(mask))
    thin = np.zeros_like(mask)
    thin[16] = True
    with pytest.raises(BadDataError, match="thin"):
        anatomy_preservation(volume, volume, thin)
    with pytest.raises(BadDataError, match="finite"):
        anatomy_preservation(volume, np.where(volume > 0.5, np.nan, volume), mask)
