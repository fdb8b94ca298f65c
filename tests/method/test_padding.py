import torch

from bids_mmh.method.padding import brain_box, crop_to, pad_to_multiple


def test_pads_ends_with_background(rng):
    volume = torch.rand(1, 1, 5, 8, 3, generator=rng)
    padded = pad_to_multiple(volume, 4)
    assert padded.shape == (1, 1, 8, 8, 4)
    assert torch.equal(padded[..., :5, :8, :3], volume)
    assert (padded[..., 5:, :, :] == -1).all()
    assert (padded[..., 3:] == -1).all()
    assert torch.equal(crop_to(padded, volume.shape), volume)


def test_leaves_alone_what_fits():
    volume = torch.zeros(1, 1, 4, 8, 12)
    assert pad_to_multiple(volume, 4) is volume


def test_the_box_holds_the_brains_and_a_margin_and_starts_at_a_multiple():
    mask = torch.zeros(2, 1, 40, 48, 24, dtype=torch.bool)
    mask[0, 0, 13:20, 11:30, 2:20] = True
    mask[1, 0, 21, 30, 5] = True
    box = brain_box(mask, 2, 8)
    assert box[2:] == (slice(8, 24), slice(8, 40), slice(0, 24))
    assert mask[box].sum() == mask.sum()


def test_without_a_brain_the_box_is_everything():
    mask = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    assert mask[brain_box(mask, 2, 4)].shape == mask.shape
