"""Style statistics of a volume and their running records per sequence (Eqs. 6, 7, 9)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bids_mmh.method.precision import without_autocast
from bids_mmh.method.style.slow_fields import BOX
from bids_mmh.method.style.tissue_style import (
    KNOTS,
    TissueStatistics,
    join_tissue_statistics,
    mean_tissue_statistics,
    tissue_statistics,
)
from bids_mmh.method.style.tissues import Segmentation, Tissue

V_MIN, V_MAX = -1.0, 1.0
OVERSAMPLING = 8  # fine cells per bin of the linear-cost histogram; its error is bounded by a test
TAIL = 4.0  # a Gaussian is cut at this many bandwidths


@dataclass(frozen=True)
class StyleStatistics:
    """Histogram (B, K), mean (B,) and standard deviation (B,) of volumes inside their brain masks.

    With tissue maps of them, also the statistics of each tissue.
    """

    histogram: Tensor
    mean: Tensor
    std: Tensor
    tissues: TissueStatistics | None = None

    @property
    def by_tissue(self) -> TissueStatistics:
        """Statistics by tissue.

        Raises:
            ValueError: they were not measured.
        """
        if self.tissues is None:
            raise ValueError("this style has no statistics by tissue")
        return self.tissues

    @property
    def moments(self) -> Tensor:
        """(B, 2): mean and standard deviation, what AdaIN is conditioned on (Eq. 8)."""
        return torch.stack([self.mean, self.std], dim=1)

    def detach(self) -> "StyleStatistics":
        """The same statistics, cut from the graph."""
        return self.map(Tensor.detach)

    def map(self, change: Callable[[Tensor], Tensor]) -> "StyleStatistics":
        """The same statistics with every tensor changed by ``change``: moved, detached, indexed."""
        tissues = None if self.tissues is None else self.tissues.map(change)
        return StyleStatistics(change(self.histogram), change(self.mean), change(self.std), tissues)


@without_autocast
def soft_histogram(values: Tensor, bins: int = 100, bandwidth: float | None = None) -> Tensor:
    """Differentiable histogram of Eqs. 6 and 7 in linear cost and memory.

    Every value is shared linearly between the two nearest cells of a grid ``OVERSAMPLING`` times finer than
    the bins; the grid is then smoothed once with the Gaussian kernel. The (voxels × bins) matrix of the
    direct formula is never made.

    Args:
        values: (F,) intensities; what lies further than four bandwidths outside [−1, 1] does not count.
        bins: number of bins K, centred from −1 to 1 inclusive.
        bandwidth: kernel width h in intensity units; one bin spacing by default.

    Returns:
        (K,) weights that sum to 1 (all 0 if no value counts).
    """
    spacing = (V_MAX - V_MIN) / (bins - 1)
    h = spacing if bandwidth is None else bandwidth
    cell = spacing / OVERSAMPLING
    margin = int(-(-TAIL * h // cell))
    cells = (bins - 1) * OVERSAMPLING + 1 + 2 * margin
    position = (values.float() - V_MIN) / cell + margin
    position = position[(position >= 0) & (position <= cells - 1)]
    low = position.detach().floor().clamp(max=cells - 2)
    share = position - low
    index = low.long()
    counts = values.new_zeros(cells, dtype=torch.float32)
    counts = counts.index_add(0, index, 1.0 - share).index_add(0, index + 1, share)
    offsets = torch.arange(-margin, margin + 1, device=values.device, dtype=torch.float32) * cell
    kernel = torch.exp(-0.5 * (offsets / h) ** 2)
    smooth = F.conv1d(counts.view(1, 1, -1), kernel.view(1, 1, -1)).view(-1)
    histogram = smooth[::OVERSAMPLING]
    return histogram / (histogram.sum() + 1e-12)


def style_statistics(
    volume: Tensor, mask: Tensor, bins: int = 100, *, segmentation: Segmentation | None = None
) -> StyleStatistics:
    """Statistics of each volume inside its mask.

    Args:
        volume: (B, 1, H, W, D) intensities.
        mask: (B, 1, H, W, D) boolean, at least two voxels true in each.
        bins: histogram bins K.
        segmentation: of the volumes, to measure each tissue too.
    """
    inside = [v[m] for v, m in zip(volume, mask.bool(), strict=True)]
    return StyleStatistics(
        histogram=torch.stack([soft_histogram(x, bins) for x in inside]),
        mean=torch.stack([x.float().mean() for x in inside]),
        std=torch.stack([x.float().std() for x in inside]),
        tissues=None if segmentation is None else tissue_statistics(volume, mask.bool(), segmentation),
    )


def mean_style(styles: Sequence[StyleStatistics]) -> StyleStatistics:
    """Mean of styles of one batch size; by tissue where all have that."""
    tissues = [style.tissues for style in styles if style.tissues is not None]
    return StyleStatistics(
        histogram=torch.stack([style.histogram for style in styles]).mean(0),
        mean=torch.stack([style.mean for style in styles]).mean(0),
        std=torch.stack([style.std for style in styles]).mean(0),
        tissues=mean_tissue_statistics(tissues) if len(tissues) == len(styles) else None,
    )


def join_styles(styles: Sequence[StyleStatistics]) -> StyleStatistics:
    """One batch of several; by tissue where all have that."""
    tissues = [style.tissues for style in styles if style.tissues is not None]
    return StyleStatistics(
        histogram=torch.cat([style.histogram for style in styles]),
        mean=torch.cat([style.mean for style in styles]),
        std=torch.cat([style.std for style in styles]),
        tissues=join_tissue_statistics(tissues) if len(tissues) == len(styles) else None,
    )


def wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the cumulative distributions of histograms (…, K); shape (…)."""
    return (a.cumsum(-1) - b.cumsum(-1)).abs().mean(-1)


def to_style(estimate: Tensor, mask: Tensor, style: Tensor) -> Tensor:
    """AdaIN on a clean estimate: give the brain the mean and standard deviation of a style (B, 2).

    An affine change of intensity, so the gradient map inside the brain stays as it is (Eq. 2). Voxels outside
    the mask are left alone.
    """
    weight = mask.to(estimate.dtype)
    count = weight.flatten(1).sum(1).view(-1, 1, 1, 1, 1)
    mean = (estimate * weight).flatten(1).sum(1).view(-1, 1, 1, 1, 1) / count
    variance = ((estimate - mean).square() * weight).flatten(1).sum(1).view(-1, 1, 1, 1, 1) / count
    new_mean, new_std = (s.view(-1, 1, 1, 1, 1) for s in style.unbind(1))
    return torch.where(mask, (estimate - mean) * (new_std / variance.sqrt()) + new_mean, estimate)


class StyleRecords(nn.Module):
    """Exponential moving averages of style, one record per sequence: the unified domains (Eq. 9).

    Buffers (saved with the model): ``histogram`` (M, K), ``mean`` (M,), ``std`` (M,), ``seen`` (M,) bool,
    and by tissue ``median`` (M, 4), ``spread`` (M, 4), ``detail`` (M, 3) and ``regional`` (M, 3, 18, 23, 23).
    """

    histogram: Tensor
    mean: Tensor
    std: Tensor
    seen: Tensor
    median: Tensor
    spread: Tensor
    detail: Tensor
    regional: Tensor

    def __init__(self, sequences: int, bins: int = 100, decay: float = 0.8) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("histogram", torch.zeros(sequences, bins))
        self.register_buffer("mean", torch.zeros(sequences))
        self.register_buffer("std", torch.ones(sequences))
        self.register_buffer("seen", torch.zeros(sequences, dtype=torch.bool))
        self.register_buffer("median", torch.zeros(sequences, len(Tissue)))
        self.register_buffer("spread", torch.zeros(sequences, len(Tissue)))
        self.register_buffer("detail", torch.zeros(sequences, 3))
        self.register_buffer("regional", torch.zeros(sequences, KNOTS, *BOX))

    def of(self, sequence: Tensor) -> StyleStatistics:
        """The records of sequence indices (B,)."""
        tissues = TissueStatistics(
            self.median[sequence], self.spread[sequence], self.detail[sequence], self.regional[sequence]
        )
        return StyleStatistics(self.histogram[sequence], self.mean[sequence], self.std[sequence], tissues)

    @torch.no_grad()
    def assign(self, m: int, style: StyleStatistics) -> None:
        """Set the record of sequence ``m`` to a style of batch size 1."""
        self._move(m, style, 0, 1.0)

    @torch.no_grad()
    def initialise(self, sequence: Tensor, style: StyleStatistics) -> None:
        """Start the record of each sequence not seen yet from a real image's statistics."""
        for i, m in enumerate(sequence.tolist()):
            if not self.seen[m]:
                self._move(m, style, i, 1.0)

    @torch.no_grad()
    def update(self, sequence: Tensor, style: StyleStatistics, reliable: Tensor) -> None:
        """Eq. 9 for the samples whose estimate is ``reliable`` (B,) bool: t ≤ τ."""
        for i, m in enumerate(sequence.tolist()):
            if reliable[i]:
                self._move(m, style, i, 1.0 - self.decay)

    def _move(self, m: int, style: StyleStatistics, i: int, share: float) -> None:
        """Move the record of sequence ``m`` by a share of the way to sample ``i`` of a style."""
        parts = [(getattr(self, name), getattr(style, name)) for name in ("histogram", "mean", "std")]
        if style.tissues is not None:
            by_tissue = ("median", "spread", "detail", "regional")
            parts += [(getattr(self, name), getattr(style.tissues, name)) for name in by_tissue]
        for record, value in parts:
            record[m] = (1.0 - share) * record[m] + share * value[i]
        self.seen[m] = True
