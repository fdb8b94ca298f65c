import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.controls import baselines
from bids_mmh.evaluation.metrics.similarity import intensity_histogram
from bids_mmh.evaluation.metrics.statistics import wasserstein


def tissue_scan(seed, csf=-0.7, grey=0.0, white=0.5, fractions=(0.15, 0.5, 0.35)):
    """Noisy voxels of three tissues in a box that is half of the grid; background -1."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((32, 30, 28), bool)
    mask[4:28, 3:27, 2:26] = True
    means = rng.choice([csf, grey, white], size=mask.sum(), p=fractions)
    volume = np.full(mask.shape, -1, np.float32)
    volume[mask] = means + 0.06 * rng.standard_normal(mask.sum())
    return volume, mask


@pytest.fixture(scope="module")
def scan():
    return tissue_scan(0)


def test_histogram_matching_gives_the_histogram_of_the_reference(scan):
    volume, mask = scan
    reference, reference_mask = tissue_scan(1, csf=-0.5, grey=0.3, white=0.7)
    matched = baselines.match_histogram(volume, mask, reference, reference_mask)
    before, after, wanted = (
        intensity_histogram(v) for v in (volume[mask], matched[mask], reference[reference_mask])
    )
    assert wasserstein(before, wanted) > 0.1
    assert wasserstein(after, wanted) < 0.005
    # A monotonous map: the order of intensities stays.
    order = np.argsort(volume[mask])
    assert np.all(np.diff(matched[mask][order]) >= -1e-5)


def test_z_score_takes_the_moments_of_the_target(scan):
    volume, mask = scan
    own = baselines.brain_moments(volume, mask)
    target = baselines.mean_moments([baselines.Moments(0.1, 0.2), baselines.Moments(0.3, 0.4)])
    assert target == pytest.approx((0.2, 0.3))
    out = baselines.match_moments(volume, mask, own, target)
    assert baselines.brain_moments(out, mask) == pytest.approx((0.2, 0.3), abs=1e-5)
    assert np.corrcoef(out[mask], volume[mask])[0, 1] == pytest.approx(1, abs=1e-5)


def test_white_stripe_is_the_brightest_mode_in_t1w(scan):
    volume, mask = scan
    found = baselines.white_stripe_moments(volume, mask, mode="last")
    assert found.mean == pytest.approx(0.5, abs=0.02)
    assert 0 < found.std < 0.03


def test_white_stripe_is_the_darkest_mode_in_t2w_even_where_grey_matter_is_larger():
    volume, mask = tissue_scan(3, csf=0.8, grey=0.1, white=-0.4, fractions=(0.2, 0.45, 0.35))
    assert baselines.white_stripe_moments(volume, mask, mode="first").mean == pytest.approx(-0.4, abs=0.02)


def test_white_stripe_ignores_a_rare_bright_tail(scan):
    volume, mask = scan
    tailed = volume.copy()
    vessels = np.flatnonzero(mask)[::20]
    tailed.ravel()[vessels] = 0.85 + 0.05 * np.random.default_rng(9).standard_normal(vessels.size)
    assert baselines.white_stripe_moments(tailed, mask, mode="last").mean == pytest.approx(0.5, abs=0.02)


def test_white_stripe_brings_white_matter_to_the_target(scan):
    volume, mask = scan
    target = baselines.white_stripe_moments(*tissue_scan(4, white=0.8), mode="last")
    own = baselines.white_stripe_moments(volume, mask, mode="last")
    out = baselines.match_moments(volume, mask, own, target)
    assert baselines.white_stripe_moments(out, mask, mode="last").mean == pytest.approx(0.8, abs=0.03)


def test_nyul_puts_the_landmarks_on_the_standard_scale(scan):
    volume, mask = scan
    training = [baselines.nyul_landmarks(*tissue_scan(seed, grey=0.2)) for seed in (5, 6)]
    scale = baselines.nyul_scale(training)
    assert scale[[0, -1]] == pytest.approx([-0.9, 0.9])
    out = baselines.match_landmarks(volume, mask, scale)
    assert baselines.nyul_landmarks(out, mask) == pytest.approx(scale, abs=1e-3)


def test_nyul_extrapolates_beyond_the_outer_landmarks():
    volume = np.linspace(0, 1, 1001, dtype=np.float32).reshape(-1, 1, 1)
    mask = np.ones(volume.shape, bool)
    scale = 2 * baselines.nyul_landmarks(volume, mask) - 1
    assert baselines.match_landmarks(volume, mask, scale) == pytest.approx(2 * volume - 1, abs=1e-4)


def test_nyul_scale_of_one_scan_is_its_own_landmarks_stretched():
    landmarks = np.arange(11.0)
    assert baselines.nyul_scale([landmarks]) == pytest.approx(landmarks / 10 * 1.8 - 0.9)


def test_blur_is_a_gaussian_in_millimetres_that_does_not_see_the_background(scan):
    volume, mask = scan
    out = baselines.gaussian_blur(volume, mask, spacing_mm=(2, 1, 1), sigma_mm=1.5)
    inner = (slice(12, 20), slice(12, 18), slice(12, 16))
    expected = gaussian_filter(volume, (0.75, 1.5, 1.5))
    assert out[inner] == pytest.approx(expected[inner], abs=1e-4)
    # A brain of one intensity but for one voxel stays that: no dark rim.
    even = np.where(mask, 0.4, -1).astype(np.float32)
    even[16, 15, 14] = 0.5
    assert baselines.gaussian_blur(even, mask, spacing_mm=(1, 1, 1))[mask].min() == pytest.approx(
        0.4, abs=1e-5
    )


def test_background_stays(scan):
    volume, mask = scan
    moments, scale = baselines.brain_moments(volume, mask), baselines.nyul_landmarks(volume, mask)
    outputs = [
        baselines.match_histogram(volume, mask, volume, mask),
        baselines.match_moments(volume, mask, moments, moments),
        baselines.match_landmarks(volume, mask, scale),
        baselines.gaussian_blur(volume, mask, spacing_mm=(1, 1, 1)),
    ]
    for out in outputs:
        assert out.dtype == np.float32
        assert np.all(out[~mask] == -1)


@pytest.mark.parametrize("bad", ["shape", "empty", "flat", "nan"])
def test_unusable_scans_are_named(scan, bad):
    volume, mask = scan
    volume = {"shape": volume[1:], "flat": np.zeros_like(volume), "nan": np.full_like(volume, np.nan)}.get(
        bad, volume
    )
    with pytest.raises(BadDataError):
        baselines.brain_moments(volume, np.zeros_like(mask) if bad == "empty" else mask)


def test_nothing_to_learn_from():
    with pytest.raises(BadDataError):
        baselines.mean_moments([])
    with pytest.raises(BadDataError):
        baselines.nyul_scale([])
