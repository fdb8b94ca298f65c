import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_mmh.errors import NoInputError
from bids_mmh.evaluation.controls.methods import CONTROLS, RAW, fit_controls
from bids_mmh.evaluation.scans import ScanArrays

SHAPE = (20, 22, 18)
MASK = np.zeros(SHAPE, bool)
MASK[3:17, 3:19, 3:15] = True


def scan(subject, site, contrast):
    """A random brain with two peaks at its darkest and brightest; dark ends are at -0.9."""
    field = gaussian_filter(np.random.default_rng(subject).standard_normal(SHAPE), 1)
    rank = field[MASK].argsort().argsort() / MASK.sum()
    volume = np.full(SHAPE, -1, np.float32)
    volume[MASK] = contrast * (0.9 - 0.9 * np.cos(np.pi * rank)) - 0.9
    return ScanArrays(f"sub-{subject}_{site}", f"sub-{subject}", site, "T1w", volume, MASK, (2.0, 2.0, 2.0))


TRAINING = [scan(1, "east", 1), scan(2, "east", 1), scan(3, "west", 0.6)]


def test_controls_learn_from_the_target_site_alone():
    fit, without = fit_controls(TRAINING, "east"), fit_controls(TRAINING[:2], "east")
    assert fit.reference is TRAINING[0]
    assert (fit.brain, fit.stripe) == (without.brain, without.stripe)
    assert np.array_equal(fit.scale, without.scale)
    assert fit.brain.mean == pytest.approx(np.mean([s.brain.mean for s in TRAINING[:2]]))


@pytest.mark.parametrize(
    "method", [name for name in CONTROLS if name not in (RAW, "Gaussian blur", "Tissue landmarks")]
)
def test_controls_bring_another_site_to_the_target(method):
    fit, other = fit_controls(TRAINING, "east"), TRAINING[2]
    done = CONTROLS[method](other, fit)
    assert np.all(done[~MASK] == -1)
    reference = TRAINING[0].preproc[MASK]
    assert abs(np.median(done[MASK]) - np.median(reference)) < abs(
        np.median(other.preproc[MASK]) - np.median(reference)
    )


def test_raw_is_untouched_and_blur_loses_contrast():
    fit, other = fit_controls(TRAINING, "east"), TRAINING[2]
    assert np.array_equal(CONTROLS[RAW](other, fit), other.preproc)
    assert CONTROLS["Gaussian blur"](other, fit)[MASK].std() < other.preproc[MASK].std()


def test_a_target_without_training_scans_is_refused():
    with pytest.raises(NoInputError, match="No training subject was scanned at north"):
        fit_controls(TRAINING, "north")
