import numpy as np

from bids_mmh.participant.intensity_units import STORED_INTERCEPT, STORED_SLOPE, to_stored


def test_stored_intensities_are_undone_by_the_sidecars_scaling():
    scaled = np.linspace(-1.5, 2.0, 50)
    np.testing.assert_allclose(STORED_SLOPE * to_stored(scaled) + STORED_INTERCEPT, scaled, atol=1e-12)


def test_stored_intensities_are_never_negative_and_dark_brain_is_not_background():
    assert (to_stored(np.array([-9.0, -1.6])) == 0).all()
    assert to_stored(np.array([-1.0, -1.4])).min() > 0
