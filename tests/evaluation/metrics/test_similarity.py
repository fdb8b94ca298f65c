import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.similarity import intensity_histogram, similarity


@pytest.fixture(scope="module")
def brain():
    """A smooth random volume within [-0.8, 0.8] in a ball, background at -1."""
    grid = np.indices((30, 34, 32)) - np.array([15, 17, 16])[:, None, None, None]
    mask = (grid**2).sum(axis=0) < 13**2
    field = gaussian_filter(np.random.default_rng(1).standard_normal(mask.shape), 2)
    return np.where(mask, 0.8 * field / np.abs(field).max(), -1).astype(np.float32), mask


def test_equal_scans(brain):
    volume, mask = brain
    same = similarity(volume, volume, mask)
    assert (same.ssim, same.pcc) == pytest.approx((1, 1), abs=1e-5)
    assert (same.psnr, same.wd) == (np.inf, 0)


def test_an_offset_of_a_tenth(brain):
    volume, mask = brain
    moved = similarity(volume, volume + np.float32(0.1), mask)
    assert moved.psnr == pytest.approx(20 * np.log10(2 / 0.1), abs=1e-3)
    assert moved.pcc == pytest.approx(1, abs=1e-5)
    assert moved.wd == pytest.approx(0.05, abs=1e-3)  # half the distance in intensity units
    assert 0.9 < moved.ssim < 0.999


def test_ssim_of_constant_windows_is_the_luminance_term():
    mask = np.ones((40, 12, 12), bool)
    first = np.where(np.arange(40) < 20, -0.5, 0.5)[:, None, None] * mask
    second = first + 0.2
    # Away from the edge windows are flat: counted from the background the means are 0.5 and 0.7, 1.5 and 1.7.
    c1 = (0.01 * 2) ** 2
    expected = [(2 * m * (m + 0.2) + c1) / (m**2 + (m + 0.2) ** 2 + c1) for m in (0.5, 1.5)]
    # In the 10 of 40 slices whose windows see the edge, structure is equal and the means lie between.
    assert similarity(first, second, mask).ssim == pytest.approx(np.mean(expected), abs=5e-3)


def test_worse_pairs_are_less_alike(brain):
    volume, mask = brain
    noise = np.random.default_rng(2).standard_normal(mask.shape).astype(np.float32)
    results = [similarity(volume, volume + level * noise, mask) for level in (0.02, 0.1, 0.3)]
    for measure in ("ssim", "psnr", "pcc"):
        values = [getattr(result, measure) for result in results]
        assert values == sorted(values, reverse=True)


def test_symmetrical(brain):
    volume, mask = brain
    other = np.where(mask, np.tanh(2 * volume) + 0.1, -1)
    one, two = similarity(volume, other, mask), similarity(other, volume, mask)
    assert [one.ssim, one.psnr, one.pcc, one.wd] == pytest.approx([two.ssim, two.psnr, two.pcc, two.wd])


def test_voxels_outside_the_mask_have_no_say(brain):
    volume, mask = brain
    dirty = np.where(mask, volume, 7.0)
    assert similarity(dirty, volume, mask).ssim == pytest.approx(1, abs=1e-5)
    assert similarity(dirty, volume, mask).psnr == np.inf


def test_histogram_keeps_what_lies_beyond_the_range():
    counts = intensity_histogram(np.array([-3.0, -0.995, 0.005, 1.4]))
    assert (counts[0], counts[50], counts[99], counts.sum()) == (2, 1, 1, 4)


@pytest.mark.parametrize("case", ["shape", "empty", "flat", "nan"])
def test_unusable_scans_are_named(brain, case):
    volume, mask = brain
    second = {"shape": volume[1:], "flat": np.zeros_like(volume), "nan": np.full_like(volume, np.nan)}.get(
        case, volume
    )
    with pytest.raises(BadDataError):
        similarity(volume, second, np.zeros_like(mask) if case == "empty" else mask)
