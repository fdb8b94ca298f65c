import numpy as np
import pytest

from bids_mmh.evaluation.controls.landmarks import landmark_style, match_tissues, mean_landmark_style
from bids_mmh.method.style.tissues import default_priors, priors_on_grid

PRIORS = priors_on_grid(default_priors()[None], (36, 46, 46))[0].numpy()
MASK = PRIORS[0] < 0.9


def brain(medians, seed=0):
    """A brain on the 4 mm grid whose tissues lie where the priors expect them."""
    rng = np.random.default_rng(seed)
    values = np.asarray(medians)[PRIORS.argmax(axis=0)] + 0.05 * rng.standard_normal(MASK.shape)
    return np.where(MASK, values, -1).astype(np.float32)


@pytest.mark.parametrize("medians", [(-0.6, 0.2, 0.4, 0.7), (0.6, -0.3, -0.5, -0.7)])
def test_medians_go_to_the_targets(medians):
    scan, others = brain(medians), [brain(np.asarray(medians) * 0.8 + 0.1, seed) for seed in (1, 2)]
    target = mean_landmark_style([landmark_style(other, MASK) for other in others])
    done = match_tissues(scan, MASK, landmark_style(scan, MASK), target)
    np.testing.assert_allclose(landmark_style(done, MASK).knots, target.knots, atol=0.03)
    assert (done[~MASK] == -1).all()


def test_tissues_that_cannot_be_told_apart_leave_the_scan_as_it_is():
    flat = brain((0.1, 0.1, 0.1, 0.1))
    target = landmark_style(brain((-0.6, 0.2, 0.4, 0.7)), MASK)
    assert np.array_equal(match_tissues(flat, MASK, landmark_style(flat, MASK), target), flat)
