import torch

from bids_mmh.method.padding import crop_to, pad_to_multiple


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
