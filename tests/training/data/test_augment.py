from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_mmh.method.style.statistics import style_statistics
from bids_mmh.training.data.augment import augment
from bids_mmh.training.recipe import Augmentation

GEOMETRY = Augmentation(flip=True, shift=3, rotate=15.0, scale=0.1)
STYLE = Augmentation(gamma=0.3, noise=0.1, bias=0.2)


@pytest.fixture
def image(rng):
    """A lopsided brain of random intensities in the middle of (16, 20, 18)."""
    inside = torch.zeros(16, 20, 18, dtype=torch.bool)
    inside[4:11, 5:15, 6:13] = True
    inside[4:6, 5:8, 6:9] = False
    return torch.where(inside, torch.rand(inside.shape, generator=rng) * 1.8 - 0.9, -1.0)


def moments(image):
    statistics = style_statistics(image[None, None], image[None, None] > -1)
    return torch.cat([statistics.histogram[0], statistics.mean, statistics.std])


def test_off_by_default(image):
    assert torch.equal(augment(image, Augmentation(), 0), image)


def test_the_seed_decides(image):
    everything = replace(GEOMETRY, gamma=0.3, noise=0.1, bias=0.2)
    first, again, other = (augment(image, everything, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_flip_mirrors_image_and_mask_in_half_of_the_volumes(image):
    flipped = [augment(image, Augmentation(flip=True), seed) for seed in range(60)]
    mirrored = [torch.equal(one, image.flip(0)) for one in flipped]
    assert 18 < sum(mirrored) < 42
    assert all(same or torch.equal(one, image) for one, same in zip(flipped, mirrored, strict=True))
    torch.testing.assert_close(moments(flipped[mirrored.index(True)]), moments(image))


def test_shift_moves_the_brain_whole_and_never_over_the_edge(image):
    """Up to three voxels each way, but only two towards a side that is two away."""
    near = image.roll(-2, 0)  # now two voxels from the first face
    places = set()
    for seed in range(200):
        moved = augment(near, Augmentation(shift=3), seed)
        inside = (moved > -1).nonzero()
        places.add(int(inside[:, 0].min()))
        assert torch.equal(moved[moved > -1], near[near > -1])
    assert places == {0, 1, 2, 3, 4, 5}


def test_rotation_and_scaling_keep_the_brains_own_intensities(image):
    """A constant brain stays constant: nothing of the background is mixed into its edge."""
    constant = torch.where(image > -1, 0.5, -1.0)
    sizes = set()
    for seed in range(5):
        moved = augment(constant, Augmentation(rotate=20.0, scale=0.2), seed)
        assert not torch.equal(moved, constant)
        torch.testing.assert_close(moved[moved > -1], torch.full_like(moved[moved > -1], 0.5))
        sizes.add(int((moved > -1).sum()))
    assert len(sizes) > 1
    assert all(0.5 < size / int((constant > -1).sum()) < 2 for size in sizes)


def test_no_rotation_by_no_angle(image):
    torch.testing.assert_close(augment(image, Augmentation(scale=1e-9), 3), image, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["gamma", "noise", "bias"])
def test_style_changes_intensities_and_not_the_mask(image, name):
    changed = augment(image, Augmentation(**{name: getattr(STYLE, name)}), 4)
    assert torch.equal(changed > -1, image > -1)
    assert (changed[image > -1] - image[image > -1]).abs().max() > 0.01
    assert (moments(changed) - moments(image)).abs().max() > 1e-3


def test_gamma_keeps_black_white_and_the_order(image):
    ramp = torch.linspace(-1, 1, 16)[:, None, None].repeat(1, 2, 2)
    changed = augment(ramp, Augmentation(gamma=0.5), 0)[:, 0, 0].numpy()
    assert changed[0] == -1
    assert changed[-1] == pytest.approx(1)
    assert (np.diff(changed[1:]) > 0).all()


def test_bias_is_smooth(image):
    """Neighbours are multiplied by nearly the same."""
    flat = torch.where(image > -1, 0.0, -1.0)
    changed = augment(flat, Augmentation(bias=0.2), 1)[6:10, 8:14, 8:12]
    steps = changed.diff(dim=0).abs().max()
    assert changed.max() - changed.min() > 0.01
    assert steps < 0.15


def test_draws_of_one_kind_do_not_depend_on_the_others(image):
    alone = augment(image, Augmentation(shift=3), 9)
    both = augment(image, Augmentation(shift=3, gamma=0.2), 9)
    assert torch.equal(alone > -1, both > -1)
