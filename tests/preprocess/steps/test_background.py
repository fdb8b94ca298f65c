import numpy as np
import pytest

from bids_mmh.preprocess.images import to_array, to_sitk
from bids_mmh.preprocess.steps.background import suppress_background

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture(scope="module")
def head():
    """A brain inside a skull that gives no signal inside a scalp: signal, 0 to 1."""
    radius = np.linalg.norm(np.indices((72, 72, 72)) * 3.0 - 108, axis=0)
    return np.where(radius < 70, 0.8, np.where(radius < 77, 0.0, np.where(radius < 88, 0.9, 0.0)))


def _mp2rage(head):
    """Re(S1* S2) / (|S1|^2 + |S2|^2) of two noisy images."""
    rng = np.random.default_rng(0)
    first, second = (
        s + 0.02 * (rng.normal(size=head.shape) + 1j * rng.normal(size=head.shape))
        for s in (0.4 * head, head)
    )
    uniform = (first.conj() * second).real / (np.abs(first) ** 2 + np.abs(second) ** 2)
    return (4095 * (uniform + 0.5)).astype(np.float32)


def test_bright_noise_goes_and_the_head_stays(head):
    image = to_sitk(_mp2rage(head), AFFINE)
    quiet, changed = suppress_background(image)
    assert changed
    values, radius = to_array(quiet), np.linalg.norm(np.indices(head.shape) * 3.0 - 108, axis=0)
    np.testing.assert_array_equal(values[radius < 68], to_array(image)[radius < 68])
    assert np.unique(values[radius > 94]).size == 1
    assert values[radius > 94].max() <= values[radius < 68].min()


def test_magnitude_images_are_left_alone(head):
    rng = np.random.default_rng(0)
    noise = 0.15 * (rng.normal(size=head.shape) + 1j * rng.normal(size=head.shape))
    for scan in (np.abs(head + noise), head):
        image = to_sitk((1000 * scan).astype(np.float32), AFFINE)
        quiet, changed = suppress_background(image)
        assert not changed
        assert quiet is image


def test_a_slab_with_tissue_in_its_corners_is_left_alone(head):
    rng = np.random.default_rng(0)
    inside = head[26:46, 26:46, 24:48] * (1 + 0.2 * np.sin(np.arange(24) / 2)) + rng.normal(
        0, 0.03, (20, 20, 24)
    )
    image = to_sitk((1000 * inside).astype(np.float32), AFFINE)
    assert suppress_background(image)[1] is False
