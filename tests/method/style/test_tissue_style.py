"""Tissue maps, styles by tissue and the landmark map, on a toy brain of three shells at 4 mm."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from bids_mmh.method.style.slow_fields import BOX, on_grid
from bids_mmh.method.style.tissue_style import (
    TissueStatistics,
    corresponding,
    map_through,
    mapped_statistics,
    mean_tissue_statistics,
    tissue_map,
    tissue_statistics,
)
from bids_mmh.method.style.tissues import Segmentation, Tissue, default_priors, priors_on_grid, segment

SHAPE = (36, 46, 46)
T1W, T2W = (-0.6, 0.2, 0.4, 0.7), (0.6, -0.3, -0.45, -0.7)


def shells():
    """True tissue of each voxel (fluid outside, then grey, white, deep grey at the centre), and the mask."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in SHAPE), indexing="ij")
    radius = sum(axis.square() for axis in axes).sqrt()
    tissue = torch.full(SHAPE, int(Tissue.FLUID))
    tissue[radius < 0.8] = Tissue.CORTICAL_GREY
    tissue[radius < 0.65] = Tissue.WHITE
    tissue[radius < 0.2] = Tissue.DEEP_GREY
    return tissue, radius < 0.9


def brain(medians, noise=0.02, slope=0.0, seed=0):
    """Volume and mask (1, 1, H, W, D) with tissues' medians, noise, and a slope from left to right."""
    tissue, mask = shells()
    values = torch.tensor(medians)[tissue]
    values = values + noise * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    values = values + slope * torch.linspace(-1, 1, SHAPE[0]).view(-1, 1, 1)
    return torch.where(mask, values, -1.0)[None, None], mask[None, None]


def true_maps():
    tissue, mask = shells()
    return (torch.nn.functional.one_hot(tissue, 4).movedim(-1, 0) * mask).float()[None]


def truth():
    return Segmentation(true_maps(), torch.ones(1, 1, *BOX), torch.tensor([-1.3]))


def blurred_priors():
    blurred = torch.nn.functional.avg_pool3d(true_maps() + 0.05, 5, 1, 2)
    return blurred / blurred.sum(1, keepdim=True)


def style(medians, **kwargs):
    volume, mask = brain(medians, **kwargs)
    return tissue_statistics(volume, mask, truth())


@pytest.mark.parametrize("medians", [T1W, T2W])
def test_maps_are_found_whichever_tissue_is_bright(medians):
    volume, mask = brain(medians)
    maps = segment(volume, mask, blurred_priors()).maps
    torch.testing.assert_close(maps.sum(1)[mask[:, 0]], torch.ones(int(mask.sum())))
    assert not maps[:, :, ~mask[0, 0]].any()
    right = (maps.argmax(1) == true_maps().argmax(1))[mask[:, 0]]
    assert right.float().mean() > 0.97


def test_maps_follow_no_linear_change_of_intensity():
    volume, mask = brain(T1W, noise=0.1)
    priors = priors_on_grid(default_priors()[None], SHAPE)
    one, other = segment(volume, mask, priors), segment(3 * volume + 7, mask, priors)
    torch.testing.assert_close(one.maps, other.maps, atol=1e-3, rtol=0)
    torch.testing.assert_close(one.gain, other.gain, atol=1e-3, rtol=0)
    torch.testing.assert_close(3 * one.zero + 7, other.zero)


@pytest.mark.parametrize("medians", [T1W, T2W])
def test_a_field_is_found_as_gain_and_tissues_are_those_without_it(medians):
    even, mask = brain(medians, noise=0.05)
    x, y, _ = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in SHAPE), indexing="ij")
    field = 1 + 0.25 * x - 0.15 * y.square()
    volume = torch.where(mask, -1.3 + (even + 1.3) * field, -1.0)
    found = segment(volume, mask, blurred_priors())
    inside = mask[0, 0]
    ratio = (on_grid(found.gain, SHAPE)[0, 0] / field)[inside]
    assert ratio.std() / ratio.mean() < 0.25 * field[inside].std()
    right = (found.maps.argmax(1) == true_maps().argmax(1))[mask[:, 0]]
    assert right.float().mean() > 0.97
    own, of_even = (tissue_statistics(v, mask, s) for v, s in ((volume, found), (even, truth())))
    back = tissue_map(volume, mask, own, of_even)
    assert (back - even)[mask].std() < 0.3 * (volume - even)[mask].std()


def test_the_even_segmentation_of_a_scan_says_nothing_of_its_gain():
    volume, _ = brain(T1W)
    found = Segmentation(true_maps(), torch.full((1, 1, *BOX), 2.0), torch.tensor([-1.3]))
    torch.testing.assert_close(found.without_gain(volume), (volume + 1.3) / 2 - 1.3)
    torch.testing.assert_close(found.even.without_gain(volume), volume)


def test_shipped_priors_are_probabilities_with_grey_matter_in_the_middle():
    priors = priors_on_grid(default_priors()[None], (144, 184, 184))
    torch.testing.assert_close(priors.sum(1), torch.ones(1, 144, 184, 184))
    thalamus = priors[0, :, 72 + 12, 109 - 18, 86 + 8]  # MNI (12, -18, 8)
    assert thalamus.argmax() == Tissue.DEEP_GREY


@pytest.mark.parametrize("medians", [T1W, T2W])
def test_medians_spreads_and_detail_are_the_truth(medians):
    found = style(medians, noise=0.05)
    torch.testing.assert_close(found.median[0], torch.tensor(medians), atol=0.01, rtol=0)
    torch.testing.assert_close(found.spread[0], torch.full((4,), 0.05), atol=0.01, rtol=0)
    expected = 0.6745 * 2**0.5 * 0.05  # median of |a - b| of normal numbers
    torch.testing.assert_close(found.detail[0], torch.full((3,), expected), atol=0.01, rtol=0)
    assert found.reliable.all()


def test_regional_medians_follow_a_slow_field_and_no_lesion():
    field = style(T1W, slope=0.1).regional[0, 2]
    assert field[4, 11, 11] < -0.03
    assert field[13, 11, 11] > 0.03
    volume, mask = brain(T1W)
    volume[0, 0, 12:15, 20:23, 20:23] = -0.5  # a lesion of 12 mm in the white matter
    hurt = tissue_statistics(volume, mask, truth()).regional
    assert (hurt - style(T1W).regional).abs().max() < 0.03


def test_partial_volume_at_borders_changes_no_statistics():
    """At 1 mm, blurred by the voxels next to each: what is within a tissue stays as it was."""
    fine = partial(torch.nn.functional.interpolate, scale_factor=4)
    volume, mask = (fine(x.float()) for x in brain(T2W, noise=0))
    sharp = torch.where(mask > 0, volume, T2W[Tissue.FLUID])
    blurred = torch.nn.functional.avg_pool3d(sharp, 3, 1, 1, count_include_pad=False)
    known = replace(truth(), maps=fine(true_maps()))
    found = tissue_statistics(blurred, mask > 0, known)
    torch.testing.assert_close(found.median, torch.tensor([T2W]), atol=0.002, rtol=0)
    assert found.spread.max() < 0.005
    assert found.regional.abs().max() < 0.005


def test_the_map_takes_medians_to_medians_and_agreeing_styles_to_themselves():
    volume, mask = brain(T1W)
    own, other = style(T1W), style((-0.4, 0.1, 0.3, 0.8))
    torch.testing.assert_close(tissue_map(volume, mask, own, own), volume)
    moved = tissue_map(volume, mask, own, other)
    found = tissue_statistics(moved, mask, truth())
    torch.testing.assert_close(found.knots, other.knots, atol=0.01, rtol=0)
    assert torch.equal(moved[~mask], volume[~mask])
    order = volume[mask].argsort()
    flat = tissue_map(volume, mask, own, other, regional=0.0)[mask][order]
    assert (flat.diff() >= 0).all()


def test_a_field_is_taken_out_by_the_regional_map_alone():
    volume, mask = brain(T1W, slope=0.15)
    own, even = style(T1W, slope=0.15), style(T1W)
    answer, _ = brain(T1W)
    errors = [
        (tissue_map(volume, mask, own, even, regional=regional) - answer)[mask].square().mean().sqrt()
        for regional in (0.0, 1.0)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_expected_statistics_are_those_of_the_mapped_scan():
    volume, mask = brain(T1W, noise=0.05)
    own, other = style(T1W, noise=0.05), style((-0.4, 0.1, 0.3, 0.8), noise=0.05)
    expected = mapped_statistics(own, other)
    found = tissue_statistics(tissue_map(volume, mask, own, other), mask, truth())
    torch.testing.assert_close(expected.median, found.median, atol=0.04, rtol=0)
    torch.testing.assert_close(expected.spread, found.spread, atol=0.02, rtol=0)
    torch.testing.assert_close(expected.detail, found.detail, atol=0.02, rtol=0)


@pytest.mark.parametrize("other", [T2W, (0.2, 0.2, 0.2, 0.2), (-0.6, 0.69, 0.7, 0.7)])
def test_styles_that_do_not_correspond_leave_the_scan_as_it_is(other):
    volume, mask = brain(T1W)
    own, wrong = style(T1W), style(other)
    assert not corresponding(own, wrong).any()
    assert torch.equal(tissue_map(volume, mask, own, wrong), volume)
    torch.testing.assert_close(mapped_statistics(own, wrong).median, own.median)


def test_means_of_styles():
    mean = mean_tissue_statistics([style(T1W), style(T2W)])
    torch.testing.assert_close(mean.median[0], (torch.tensor(T1W) + torch.tensor(T2W)) / 2, atol=0.01, rtol=0)
    assert isinstance(mean.map(torch.zeros_like), TissueStatistics)


def test_what_is_darker_than_the_darkest_tissue_is_not_cut_off():
    """White matter gets darker and the contrast is doubled; a vessel stays above the background."""
    source = torch.tensor([0.4, -0.4, -0.5]).view(1, 3, 1, 1, 1)
    goal = torch.tensor([0.5, -0.5, -0.7]).view(1, 3, 1, 1, 1)
    volume = torch.tensor([-0.9, -0.7, -0.5, -0.4, 0.4]).view(1, 1, 5, 1, 1)
    mapped = map_through(volume, source, goal).flatten()
    assert torch.all(mapped.diff() > 0)
    assert mapped[0] > -1
    torch.testing.assert_close(mapped[2:], torch.tensor([-0.7, -0.5, 0.5]))
