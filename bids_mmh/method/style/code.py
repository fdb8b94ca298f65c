"""Style code of AdaIN (Eq. 8): the style conditioned on, and its displacement from the scan's own style.

Conditioned on the record alone, a network has to infer how far each scan is from it, from features whose mean
and scale its normalisations have just removed. Conditioned on the displacement as well, it learns the change
(docs/method.md has the measurement).
"""

import torch
from torch import Tensor

from bids_mmh.method.config import StyleCodeKind
from bids_mmh.method.style.statistics import V_MAX, V_MIN, StyleStatistics
from bids_mmh.method.style.tissue_style import TissueStatistics

LEVELS = tuple(0.05 + 0.09 * i for i in range(11))  # of the quantiles that describe a histogram
TISSUE_CODE = 2 * (4 + 4 + 3)
REACH = 10.0  # styles of one sequence lie within about 0.1 of each other: brings displacements to unit size


def code_length(kind: StyleCodeKind) -> int:
    """Numbers in a style code."""
    return {"record": 2, "displacement": 4 + len(LEVELS), "tissues": TISSUE_CODE}[kind]


def style_code(
    own: StyleStatistics,
    condition: StyleStatistics,
    kind: StyleCodeKind = "displacement",
    *,
    remaining: Tensor | None = None,
) -> Tensor:
    """Code of a scan's own style and the one conditioned on; (B, :func:`code_length`).

    ``record`` is Eq. 8 to the letter: mean and standard deviation of the latter. ``displacement`` adds
    the differences of mean, standard deviation and eleven quantiles between both, or the share of them that
    is ``remaining``, (B,): a volume halfway down the sampling trajectory has changed in part.
    """
    if kind == "tissues":
        return tissue_code(own.by_tissue, condition.by_tissue, remaining=remaining)
    if kind == "record":
        return condition.moments
    displacement = [
        condition.moments - own.moments,
        quantiles(condition.histogram) - quantiles(own.histogram),
    ]
    scale = REACH if remaining is None else REACH * remaining[:, None]
    return torch.cat([condition.moments, scale * torch.cat(displacement, dim=1)], dim=1)


def tissue_code(
    own: TissueStatistics, target: TissueStatistics, *, remaining: Tensor | None = None
) -> Tensor:
    """Medians, spreads and detail of the target by tissue, and how far the scan's own lie from them; (B, 22).

    The first four numbers are the target's medians, as they are.
    """
    share = 1.0 if remaining is None else remaining[:, None]
    there, here = (torch.log(style.detail + 2e-3) for style in (target, own))
    return torch.cat(
        [
            target.median,
            5.0 * target.spread,
            there + 3.0,
            share * REACH * (target.median - own.median),
            share * REACH * (target.spread - own.spread),
            share * (there - here),
        ],
        dim=1,
    )


def quantiles(histogram: Tensor) -> Tensor:
    """Intensities below which the share ``LEVELS`` of histograms (B, K) over [−1, 1] lies; (B, 11)."""
    cumulative = histogram.cumsum(-1).contiguous()
    bins = histogram.shape[-1]
    levels = torch.tensor(LEVELS, device=histogram.device).expand(len(histogram), -1).contiguous()
    above = torch.searchsorted(cumulative, levels).clamp(1, bins - 1)
    high, low = cumulative.gather(1, above), cumulative.gather(1, above - 1)
    share = ((levels - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    return V_MIN + (above - 1 + share) * (V_MAX - V_MIN) / (bins - 1)
