import io

import numpy as np
import pytest
from PIL import Image

from bids_mmh.reports.figures import scan as figures
from bids_mmh.reports.figures.canvas import PIXELS_WIDE


def _pixels(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)


def _coloured(pixels):
    return (pixels.max(axis=-1) - pixels.min(axis=-1) > 60).mean()


def test_mosaics_of_one_mask_can_be_laid_over_each_other(brain):
    volume, mask, affine = brain
    first = _pixels(figures.mosaic_figure(volume, mask, affine))
    second = _pixels(figures.mosaic_figure(volume * 0.5, mask, affine))
    assert first.shape == second.shape
    assert first.shape[1] == PIXELS_WIDE


def test_grey_window_is_fixed(brain):
    _, mask, affine = brain
    grey = _pixels(figures.mosaic_figure(np.where(mask, 0.0, -1.0), mask, affine))
    # Scaled 0 is the middle of the window, whatever else is in the image.
    values, counts = np.unique(grey[..., 0], return_counts=True)
    bright = values > 60
    assert abs(int(values[bright][counts[bright].argmax()]) - 128) <= 3


@pytest.mark.parametrize(("change", "channel"), [(0.3, 0), (-0.3, 2)])
def test_difference_is_red_where_brighter_and_blue_where_darker(brain, change, channel):
    volume, mask, affine = brain
    pixels = _pixels(figures.difference_figure(volume, volume + change, mask, affine))
    # The colour bar holds both colours: look above it.
    pixels = pixels[: int(0.9 * len(pixels))]
    strong = pixels[pixels.max(axis=-1) - pixels.min(axis=-1) > 60]
    assert len(strong) > 1000
    assert (strong.argmax(axis=-1) == channel).mean() > 0.95


def test_no_difference_has_no_colour(brain):
    volume, mask, affine = brain
    pixels = _pixels(figures.difference_figure(volume, volume, mask, affine))
    assert _coloured(pixels[: int(0.9 * len(pixels))]) == 0


def test_a_change_has_full_colour_from_its_limit_on(brain):
    volume, mask, affine = brain
    strong, weak = (
        _coloured(_pixels(figures.change_figure(0.0 * volume + size, mask, affine, limit=0.12)))
        for size in (0.12, 0.001)
    )
    assert strong > 2 * weak  # which has the colour bar alone


@pytest.mark.parametrize(("factor", "channel"), [(1.2, 0), (0.8, 2)])
def test_a_bias_field_is_red_where_the_scan_was_too_bright(brain, factor, channel):
    volume, mask, affine = brain
    field = np.full(volume.shape, factor, np.float32)
    field[np.asarray(mask) == 0] = np.nan
    pixels, flat = (_pixels(figures.bias_figure(f, mask, affine)) for f in (field, field / factor))
    above_the_bar = int(0.9 * len(pixels))
    strong = pixels[:above_the_bar][np.ptp(pixels[:above_the_bar], axis=-1) > 60]
    assert (strong.argmax(axis=-1) == channel).mean() > 0.95
    assert _coloured(flat[:above_the_bar]) == 0


def test_outline_is_drawn_on_the_native_image(brain):
    volume, mask, affine = brain
    native = (volume + 1) * 400
    outlined = _pixels(figures.mask_outline_figure(native, mask, affine))
    plain = _pixels(figures.mask_outline_figure(native, np.ones_like(mask), affine))
    assert _coloured(outlined) > 0.003
    assert _coloured(plain) == 0


def test_edges_show_both_outlines(brain):
    volume, mask, affine = brain
    pixels = _pixels(figures.edges_figure(volume, volume, mask, affine))
    yellow = (pixels[..., 0] - pixels[..., 2] > 80).mean()
    blue = (pixels[..., 2] - pixels[..., 0] > 80).mean()
    assert yellow > 0.002
    assert blue > 0.002


def test_histogram_has_a_curve_for_each_image():
    density = np.ones(100) / 2
    both, one = figures.histogram_figure(density, density), figures.histogram_figure(density, None)
    assert b"#1f5fa8" in both
    assert b"#1f5fa8" not in one
    assert b"<svg" in one
