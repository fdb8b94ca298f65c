import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from bids_mmh.preprocess.images import image_like
from bids_mmh.preprocess.steps.agreement import (
    GRID,
    MARGIN,
    MIN_VOXELS,
    agreement,
    normalised_mutual_information,
    sample,
)

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def texture():
    """Smooth noise on the grid and its margin, without symmetry."""
    shape = np.array(GRID.shape) + 2 * MARGIN
    volume = ndimage.gaussian_filter(RNG.normal(size=shape), 3).astype(np.float32)
    return volume / volume.std()


def without_margin(volume):
    inner = slice(MARGIN, -MARGIN)
    return volume[inner, inner, inner]


@pytest.fixture(scope="module")
def inside(texture):
    shape = np.array(texture.shape)
    centre = ((shape - 1) / 2).reshape(3, 1, 1, 1)
    return np.linalg.norm(np.indices(texture.shape) - centre, axis=0) < 22


def test_information_of_equal_dependent_and_independent_values():
    values = RNG.normal(size=200_000)
    assert normalised_mutual_information(values, values) == pytest.approx(2)
    assert normalised_mutual_information(values, np.cos(3 * values)) > 1.2
    assert normalised_mutual_information(values, RNG.normal(size=200_000)) == pytest.approx(1, abs=2e-3)
    assert normalised_mutual_information(np.zeros(9), np.zeros(9)) == 1.0


def test_images_in_place_are_distinct_whatever_their_contrast(texture, inside):
    found = agreement(texture, -np.abs(texture) + 0.3 * texture, inside, mirror=True)
    assert found.information > 0.1
    assert found.distinctness > 0.6


@pytest.mark.parametrize(("axis", "letter"), [(0, "x"), (1, "y"), (2, "z")])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_opposite_shift_improves_a_shifted_image(texture, inside, axis, letter, sign):
    # Voxels of 2 mm: shifted by 4 mm, the nearest perturbation is 5.
    found = agreement(texture, np.roll(texture, 2 * sign, axis=axis), inside, mirror=False)
    assert found.distinctness < 0
    assert found.best_perturbation == f"{letter}{5.0 * sign:+g}mm"


@pytest.mark.parametrize(("axes", "letter"), [((1, 2), "x"), ((2, 0), "y"), ((0, 1), "z")])
def test_the_opposite_rotation_improves_a_rotated_image(texture, inside, axes, letter):
    turned = ndimage.rotate(texture, 6, axes=axes, reshape=False, order=1, mode="nearest")
    found = agreement(texture, turned, inside, mirror=False)
    assert found.distinctness < 0
    assert found.best_perturbation.startswith(letter)
    assert found.best_perturbation.endswith("deg")


def test_a_mirror_image_is_recognized(texture, inside):
    found = agreement(texture, texture[::-1].copy(), inside, mirror=True)
    assert found.best_perturbation == "mirror"
    assert found.distinctness < 0


def test_too_little_to_look_at_is_no_agreement(texture, inside):
    few = np.zeros_like(inside)
    few.flat[: MIN_VOXELS - 1] = True
    assert agreement(texture, texture, few, mirror=False).distinctness == -1


def test_scans_are_sampled_in_template_space(texture):
    volume = without_margin(texture)
    image = image_like(np.ascontiguousarray(volume), GRID.reference())
    np.testing.assert_allclose(without_margin(sample(image, SimpleITK.Transform())), volume, atol=1e-5)
    shift = SimpleITK.TranslationTransform(3, (2.0, 0.0, 0.0))  # to the left by one voxel
    moved = without_margin(sample(image, shift))
    np.testing.assert_allclose(moved[1:], volume[:-1], atol=1e-5)
