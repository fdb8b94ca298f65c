import pytest
import torch

from bids_mmh.method.denoise import noise_level, without_noise
from bids_mmh.method.precision import fast_autocast

SHAPE = (1, 1, 24, 24, 24)


def half_and_half(noise):
    """Two tissues with a sharp border, the mask, and the same without noise."""
    clean = torch.zeros(SHAPE)
    clean[..., 12:] = 0.8
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[..., 2:22, 2:22, 2:22] = True
    rest = noise * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    return torch.where(mask, clean + rest, -1.0), mask, clean


def test_noise_goes_and_the_border_stays():
    volume, mask, clean = half_and_half(0.05)
    result = without_noise(volume, mask, torch.tensor([0.05]))
    before, after = ((v - clean)[mask].square().mean().sqrt() for v in (volume, result))
    assert after < 0.6 * before
    step = (result[..., 12] - result[..., 11])[mask[..., 11]].mean()
    assert float(step) == pytest.approx(0.8, abs=0.08)
    assert torch.equal(result[~mask], volume[~mask])


def test_filter_is_exact_where_products_are_in_bf16(bfloat16):
    volume, mask, _ = half_and_half(0.05)
    noise = torch.tensor([0.05])
    with fast_autocast(volume.device):
        inside = without_noise(volume, mask, noise)
    assert torch.equal(inside, without_noise(volume, mask, noise))


def test_a_scan_without_noise_stays_as_it_is():
    volume, mask, _ = half_and_half(0.05)
    assert torch.equal(without_noise(volume, mask, torch.tensor([0.05]), 0.0), volume)
    torch.testing.assert_close(without_noise(volume, mask, torch.zeros(1)), volume)


def test_the_level_is_that_of_the_noise():
    flat = 0.05 * torch.randn(40, 40, 40, generator=torch.Generator().manual_seed(2))
    detail = torch.stack([flat.diff(dim=axis).abs().median() for axis in range(3)])[None]
    assert float(noise_level(detail)) == pytest.approx(0.05, rel=0.03)


def test_noise_goes_at_the_border_too():
    volume, mask, clean = half_and_half(0.05)
    border = torch.zeros_like(mask)
    border[..., 11:13] = True
    result = without_noise(volume, mask, torch.tensor([0.05]))
    before, after = ((v - clean)[mask & border].square().mean().sqrt() for v in (volume, result))
    assert after < 0.6 * before


def test_a_sheet_of_one_voxel_keeps_its_contrast():
    volume, mask, _ = half_and_half(0.05)
    volume[..., 6] += 0.2
    result = without_noise(volume, mask, torch.tensor([0.05]))
    inside = mask[..., 6]
    contrast = (result[..., 6] - (result[..., 5] + result[..., 7]) / 2)[inside].mean()
    assert float(contrast) == pytest.approx(0.2, abs=0.03)


def test_a_brain_that_is_cut_by_the_field_of_view_knows_nothing_of_the_other_side():
    volume = 0.05 * torch.randn(2, 1, 9, 10, 11, generator=torch.Generator().manual_seed(3))
    mask, noise = torch.ones_like(volume, dtype=torch.bool), torch.tensor([0.05, 0.1])
    wide, wide_mask = (torch.nn.functional.pad(one, (6,) * 6) for one in (volume, mask))
    result = without_noise(wide, wide_mask, noise)[..., 6:-6, 6:-6, 6:-6]
    torch.testing.assert_close(without_noise(volume, mask, noise), result)
    one_by_one = [
        without_noise(v[None], m[None], n[None]) for v, m, n in zip(volume, mask, noise, strict=True)
    ]
    torch.testing.assert_close(torch.cat(one_by_one), result)
