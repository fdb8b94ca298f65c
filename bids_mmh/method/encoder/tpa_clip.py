"""TPA-CLIP: the embedding Ψ(V) of a volume from slices of three views (Eqs. 15 to 18).

Volumes are RAS+: array axes x (left to right), y (posterior to anterior), z (inferior to superior).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bids_mmh.method.encoder.slices import SliceEncoder
from bids_mmh.method.padding import BACKGROUND

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis that a view's slices follow one another on
PLACES = 100.0  # the position code counts a slice's place in hundredths of its axis


@dataclass(frozen=True)
class TriPlanarConfig:
    """How slices become one embedding.

    Attributes:
        slices: Z, slices a view.
        heads: attention heads.
        alpha: α of Eq. 17 at the start.
        aggregation: ``attention`` (Eqs. 15 to 17), or ``axial_mean``, the ablation without it: the plain mean
            of the axial slices' embeddings.
    """

    slices: int = 24
    heads: int = 8
    alpha: float = 0.1
    aggregation: Literal["attention", "axial_mean"] = "attention"


class AttentionAggregator(nn.Module):
    """Slice embeddings of three views to one vector (Eqs. 15 to 17)."""

    views = ("axial", "coronal", "sagittal")

    def __init__(self, dim: int, heads: int, alpha: float) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"an embedding of length {dim} cannot be divided among {heads} heads")
        self.view = nn.Parameter(torch.randn(len(self.views), dim) * 0.02)
        self.query = nn.Parameter(torch.randn(1, dim) * dim**-0.5)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(len(self.views) * dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.alpha = nn.Parameter(torch.tensor(alpha))

    def forward(self, embeddings: Tensor, places: Tensor) -> Tensor:
        """Aggregate.

        Args:
            embeddings: (B, 3, Z, D) of the slices, views in the order of ``views``.
            places: (B, 3, Z) places of the slices in the volume, 0 to 1.

        Returns:
            (B, D).
        """
        # a style is a small difference of embeddings: bfloat16 would round it away
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._aggregate(embeddings.float(), places)

    def _aggregate(self, embeddings: Tensor, places: Tensor) -> Tensor:
        batch, views, _, dim = embeddings.shape
        position = sinusoidal_position(places, dim).to(embeddings.dtype)
        slices = F.normalize(embeddings + position + self.view[:, None], dim=-1)  # Eq. 15
        keys = slices.flatten(0, 1)
        query = self.query.expand(len(keys), 1, dim)
        attended, _ = self.attention(query, keys, keys, need_weights=False)
        z = self.norm(attended).view(batch, views, dim)  # Eq. 16
        return z.mean(1) + self.alpha * self.mlp(z.flatten(1))  # Eq. 17


class AxialMean(nn.Module):
    """The ablation without attention: the mean of the axial slices' embeddings. Nothing to learn."""

    views = ("axial",)

    def forward(self, embeddings: Tensor, places: Tensor) -> Tensor:  # noqa: ARG002
        """(B, 1, Z, D) to (B, D)."""
        return embeddings.mean(dim=(1, 2))


class TriPlanarEncoder(nn.Module):
    """Ψ of a volume: a frozen slice encoder and a trainable aggregator.

    Args:
        encoder: frozen; never saved with the aggregator.
        config: how slices are taken and aggregated.

    Raises:
        ValueError: the encoder's D is not divisible by the heads.
    """

    def __init__(self, encoder: SliceEncoder, config: TriPlanarConfig | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config or TriPlanarConfig()
        self.aggregator: AttentionAggregator | AxialMean = (
            AxialMean()
            if self.config.aggregation == "axial_mean"
            else AttentionAggregator(encoder.dim, self.config.heads, self.config.alpha)
        )

    def forward(self, volume: Tensor, mask: Tensor) -> Tensor:
        """Embed volumes.

        Args:
            volume: (B, 1, H, W, D) intensities in [−1, 1]; what is outside the mask is taken as background.
            mask: (B, 1, H, W, D) boolean brain mask, not empty.

        Returns:
            (B, D) embeddings Ψ(V).

        Raises:
            ValueError: a mask is empty.
        """
        return self.aggregator(*self.slices(volume, mask))

    def slices(self, volume: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the frozen encoder makes of volumes, before anything that is learnt; arguments as above.

        Returns:
            Embeddings (B, V, Z, D) of the slices of V views, and their places in the volume (B, V, Z), 0–1.
        """
        brain = torch.where(mask.bool(), volume, BACKGROUND)
        views = [self._view(brain, mask.bool(), AXES[view]) for view in self.aggregator.views]
        embeddings, places = zip(*views, strict=True)
        return torch.stack(embeddings, dim=1), torch.stack(places, dim=1)

    def style(self, image: Tensor, aligned: Tensor, mask: Tensor) -> Tensor:
        """Style vectors S = Ψ(I) − Ψ(I′) (Eq. 18) of scans and their globally harmonized selves; (B, D)."""
        return self(image, mask) - self(aligned, mask)

    def _view(self, volume: Tensor, mask: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Embeddings (B, Z, D) of one view's slices and their places (B, Z)."""
        side = volume.shape[2 + axis]
        indices = torch.stack([slice_indices(m[0], axis, self.config.slices) for m in mask])
        slices = torch.cat([take_slices(v[0], axis, i) for v, i in zip(volume, indices, strict=True)])
        embeddings = self.encoder(slices[:, None]).unflatten(0, indices.shape)
        return embeddings, indices.float() / max(side - 1, 1)


def slice_indices(mask: Tensor, axis: int, count: int) -> Tensor:
    """Indices (count,) of slices in the middles of ``count`` equal parts of a mask's (H, W, D) extent.

    Raises:
        ValueError: the mask is empty.
    """
    others = [dim for dim in range(3) if dim != axis]
    inside = mask.any(dim=others[1]).any(dim=others[0]).nonzero().flatten()
    if not len(inside):
        raise ValueError("the brain mask is empty: there is no slice to take")
    first, last = inside[0].double(), inside[-1].double()
    middles = (torch.arange(count, device=mask.device, dtype=torch.float64) + 0.5) / count
    return (first - 0.5 + middles * (last - first + 1)).round().long()


def take_slices(volume: Tensor, axis: int, indices: Tensor) -> Tensor:
    """Slices of (H, W, D) across ``axis``, upright: (Z, rows, columns), superior or anterior in row 0."""
    slices = volume.index_select(axis, indices).movedim(axis, 0)
    return slices.transpose(1, 2).flip(1)


def sinusoidal_position(places: Tensor, dim: int) -> Tensor:
    """Sine and cosine codes (…, dim) of places (…) in [0, 1]; wavelengths as in the Transformer.

    The place is relative to the volume, so that a slice has one code on every grid.
    """
    half = (dim + 1) // 2
    rates = 10000.0 ** (-torch.arange(half, device=places.device, dtype=torch.float32) / half)
    angles = PLACES * places[..., None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :dim]
