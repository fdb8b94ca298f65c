"""Styles that know tissues: robust statistics per tissue, and the map of intensity between two of them.

A histogram of a whole brain mixes how bright tissues are with how much of each there is, which differs
between subjects. What a scanner decides is the first alone. So a style also holds, for each tissue, its
median and spread, and how its median varies over the brain in a slow field: regional contrast and what a bias
correction left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.method.style.slow_fields import BOX, on_grid, windowed
from bids_mmh.method.style.tissues import Segmentation, Tissue

KNOTS = 3  # of the map: fluid, grey and white matter
_KNOTS = [Tissue.FLUID, Tissue.CORTICAL_GREY, Tissue.WHITE]
_RANGE, _BINS = 2.0, 2000  # medians and spreads are read off histograms over [−RANGE, RANGE]
_WINDOW = 1.5  # cells: standard deviation of the Gaussian window of a regional map (12 mm)
_SCARCE = 0.03  # share of a window that a tissue fills: of less, its regional median is mostly the global one
_ALONE = 4  # power of the share of a tissue around a voxel, in its weight
_CLIP = 2.5  # spreads: a voxel further from its tissue's median (lesion, vessel) counts as this far
STEEPEST = 2.5  # slope of the map: it makes noise larger as well
_FLOOR = -1.0  # scaled intensity of the background
_CLOSE = 0.02  # scaled units: tissues whose medians lie closer cannot be separated


@dataclass(frozen=True)
class TissueStatistics:
    """Style of a batch of brains by tissue, in scaled intensities.

    Attributes:
        median: (B, 4) of the tissues in the order of :class:`~bids_mmh.method.style.tissues.Tissue`.
        spread: (B, 4) half the distance of the 16th and 84th percentile.
        detail: (B, 3) median absolute difference of neighbouring white-matter voxels along each axis: noise
            and resolution.
        regional: (B, 3, *BOX) what the local medians of fluid, cortical grey and white matter are above the
            global ones.
    """

    median: Tensor
    spread: Tensor
    detail: Tensor
    regional: Tensor

    @property
    def knots(self) -> Tensor:
        """(B, 3): medians of fluid, (cortical) grey and white matter."""
        return self.median[:, _KNOTS]

    @property
    def reliable(self) -> Tensor:
        """(B,) bool: the three tissues are separated, in one of the two orders of T1w and T2w."""
        fluid, grey, white = self.knots.unbind(1)
        up, down = torch.minimum(grey - fluid, white - grey), torch.minimum(fluid - grey, grey - white)
        return torch.maximum(up, down) > _CLOSE

    def map(self, change: Callable[[Tensor], Tensor]) -> "TissueStatistics":
        """The same statistics with every tensor changed by ``change``: moved, detached, indexed."""
        return TissueStatistics(*(change(getattr(self, field.name)) for field in fields(self)))


@torch.no_grad()
def tissue_statistics(volume: Tensor, mask: Tensor, segmentation: Segmentation) -> TissueStatistics:
    """Measure brains of which the tissues are known.

    What is measured is the brain without its gain, to which all tissues contribute; the local medians then
    follow the gain and what is left of the tissue's own.

    Args:
        volume: (B, 1, H, W, D) scaled intensities, over the whole box of the model.
        mask: boolean, same shape.
        segmentation: of :func:`~bids_mmh.method.style.tissues.segment`; its ``even`` if ``volume`` is not the
            scan that was segmented.
    """
    tissues, scan = segmentation.maps, volume
    volume = segmentation.without_gain(volume.float())
    weights = _inner(tissues)
    quantiles = torch.stack(
        [_quantiles(v[m], w[:, m[0]]) for v, m, w in zip(volume, mask, weights, strict=True)]
    )
    median, spread = quantiles[..., 1], (quantiles[..., 2] - quantiles[..., 0]) / 2
    detail = torch.stack([_detail(v[0], t[Tissue.WHITE]) for v, t in zip(scan, tissues, strict=True)])
    own = _regional(volume, weights, median, spread)
    knots, zero = (x.view(len(volume), -1, 1, 1, 1) for x in (median[:, _KNOTS], segmentation.zero))
    local = zero + segmentation.gain * (knots + own - zero)
    return TissueStatistics(median, spread, detail, local - knots)


def mean_tissue_statistics(styles: Sequence[TissueStatistics]) -> TissueStatistics:
    """Mean of styles of one batch size."""
    parts = ([getattr(style, field.name) for style in styles] for field in fields(TissueStatistics))
    return TissueStatistics(*(torch.stack(part).mean(0) for part in parts))


def join_tissue_statistics(styles: Sequence[TissueStatistics]) -> TissueStatistics:
    """One batch of several."""
    parts = ([getattr(style, field.name) for style in styles] for field in fields(TissueStatistics))
    return TissueStatistics(*(torch.cat(part) for part in parts))


@torch.no_grad()
def tissue_map(
    volume: Tensor, mask: Tensor, own: TissueStatistics, target: TissueStatistics, *, regional: float = 1.0
) -> Tensor:
    """Map intensities through the tissue medians: straight lines between own and target ones, at every place.

    Monotone at every place, and the identity where the styles agree. Where the tissues of either style
    cannot be separated, or lie in another order, medians do not correspond and the scan stays as it is (see
    :func:`corresponding`).

    Args:
        volume: (B, 1, H, W, D).
        mask: boolean, same shape; voxels outside are left alone.
        own: style of ``volume``.
        target: style to be in.
        regional: how far the medians follow their local values; 0 maps all places alike.
    """
    source, goal = (knot_maps(style, volume.shape, regional=regional) for style in (own, target))
    mapped = map_through(volume, source, goal)
    return torch.where(mask & corresponding(own, target).view(-1, 1, 1, 1, 1), mapped, volume)


def corresponding(own: TissueStatistics, target: TissueStatistics) -> Tensor:
    """(B,) bool: both styles separate the tissues, and have them in the same order."""
    rises = [style.knots[:, 0] < style.knots[:, 2] for style in (own, target)]
    return own.reliable & target.reliable & (rises[0] == rises[1])


def knot_maps(style: TissueStatistics, shape: torch.Size, *, regional: float = 1.0) -> Tensor:
    """Local medians of fluid, grey and white matter on a grid of ``shape`` (…, H, W, D).

    Returns:
        (B, 3, H, W, D), or (B, 3, 1, 1, 1) where they are the same everywhere (``regional`` 0).
    """
    knots = style.knots[..., None, None, None]
    if not regional:
        return knots
    return knots + regional * on_grid(style.regional, shape[-3:])


def map_through(volume: Tensor, source: Tensor, goal: Tensor) -> Tensor:
    """Straight lines from the knots ``source`` to the knots ``goal``, and beyond the outer ones.

    What is darker than the darkest tissue (vessels, iron, membranes) comes no nearer to the background than
    it was, in proportion: where white matter gets darker, it would else be cut off.

    Args:
        volume: (B, 1, H, W, D).
        source: (B, 3, …) knots of the volume's own style, of :func:`knot_maps`.
        goal: knots of the style to be in, same shape.
    """
    x_fluid, x_grey, x_white = source.split(1, dim=1)
    y_fluid, y_grey, y_white = goal.split(1, dim=1)
    towards_fluid = _slope(x_grey, x_fluid, y_grey, y_fluid)
    towards_white = _slope(x_grey, x_white, y_grey, y_white)
    offset = volume - x_grey
    slope = torch.where((offset < 0) == (x_fluid < x_grey), towards_fluid, towards_white)
    mapped = y_grey + slope * offset
    fluid_is_dark = x_fluid < x_white
    x_dark = torch.where(fluid_is_dark, x_fluid, x_white)
    slope_dark = torch.where(fluid_is_dark, towards_fluid, towards_white)
    y_dark = y_grey + slope_dark * (x_dark - x_grey)
    floor = torch.full_like(x_dark, _FLOOR)
    slope_dark = torch.minimum(slope_dark, _slope(x_dark, floor, y_dark, floor))
    return torch.where(volume < x_dark, y_dark + slope_dark * (volume - x_dark), mapped)


def mapped_statistics(own: TissueStatistics, target: TissueStatistics) -> TissueStatistics:
    """What :func:`tissue_map` makes of a style, to first order: the target's knots, stretched spreads."""
    source, goal = own.knots, target.knots
    fluid, white = (_slope(source[:, 1], source[:, k], goal[:, 1], goal[:, k]) for k in (0, 2))
    grey = (fluid + white) / 2
    offset = own.median[:, Tissue.DEEP_GREY] - source[:, 1]
    slope = torch.where((offset < 0) == (source[:, 0] < source[:, 1]), fluid, white)
    deep = goal[:, 1] + slope * offset
    valid = corresponding(own, target)[:, None]
    median = torch.stack([goal[:, 0], goal[:, 1], deep, goal[:, 2]], dim=1)
    spread = own.spread * torch.stack([fluid, grey, slope, white], dim=1)
    return TissueStatistics(
        median=torch.where(valid, median, own.median),
        spread=torch.where(valid, spread, own.spread),
        detail=torch.where(valid, own.detail * white[:, None], own.detail),
        regional=torch.where(valid[..., None, None, None], target.regional, own.regional),
    )


def _slope(x0: Tensor, x1: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
    gap = x1 - x0
    gap = torch.where(gap.abs() < _CLOSE, torch.where(gap < 0, -_CLOSE, _CLOSE), gap)
    return ((y1 - y0) / gap).clamp(1 / STEEPEST, STEEPEST)


def _inner(tissues: Tensor) -> Tensor:
    """Weights of voxels in a tissue's statistics, (B, K, H, W, D): those within it count most.

    At its border a voxel holds other tissue as well. How much of it there is is the subject's own, and looks
    different at another resolution.
    """
    voxels = tissues.shape[2] / BOX[0]  # along a cell of 8 mm
    reach = round(voxels / 8)  # 1 mm
    around = F.avg_pool3d(tissues, 2 * reach + 1, stride=1, padding=reach)
    return tissues * around**_ALONE


def _quantiles(values: Tensor, weights: Tensor) -> Tensor:
    """16th, 50th and 84th percentile of values (N,) under each of the weights (K, N); (K, 3)."""
    cell = ((values.float() + _RANGE) * (_BINS / (2 * _RANGE))).long().clamp(0, _BINS - 1)
    levels = torch.tensor([0.16, 0.5, 0.84], device=values.device)
    found = []
    for weight in weights:
        counts = torch.zeros(_BINS, device=values.device).index_add_(0, cell, weight)
        cumulative = F.pad(counts.cumsum(0) / counts.sum().clamp(min=1e-6), (1, 0))
        right = torch.searchsorted(cumulative, levels).clamp(1, _BINS)
        low, high = cumulative[right - 1], cumulative[right]
        # straight within a cell: medians must not jump by a cell where a scan changes by rounding
        share = ((levels - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
        found.append((right - 1 + share) * (2 * _RANGE / _BINS) - _RANGE)
    return torch.stack(found).clamp(-_RANGE, _RANGE)


def _detail(volume: Tensor, white: Tensor) -> Tensor:
    """Median absolute difference to the next voxel along each axis, inside the white matter; (3,)."""
    found = []
    for axis in range(3):
        n = volume.shape[axis] - 1
        inside = (white.narrow(axis, 0, n) > 0.9) & (white.narrow(axis, 1, n) > 0.9)
        change = (volume.narrow(axis, 1, n) - volume.narrow(axis, 0, n))[inside].abs()
        found.append(change.median() if change.numel() else volume.new_zeros(()))
    return torch.stack(found)


def _regional(volume: Tensor, weights: Tensor, median: Tensor, spread: Tensor) -> Tensor:
    """Local means of each tissue's deviation from its median, shrunk to 0 where there is little of it.

    Deep grey matter has no say in those of grey matter: its iron is the subject's own.
    """
    weights = weights[:, _KNOTS]
    centre, reach = (values[:, _KNOTS, None, None, None] for values in (median, _CLIP * spread))
    deviation = (volume - centre).clamp(-reach, reach)
    return windowed(weights * deviation, _WINDOW) / (windowed(weights, _WINDOW) + _SCARCE)
