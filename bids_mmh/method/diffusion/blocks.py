"""Building blocks of the conditional U-Net.

Conditioning always comes *after* a normalisation, folded into its scale and shift. Adding it before would let
the normalisation cancel it: a constant per channel has no variance.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def zero_module(module: nn.Module) -> nn.Module:
    """Zero all parameters of ``module``: its branch starts as identity or silence."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def sinusoidal_embedding(t: Tensor, dim: int) -> Tensor:
    """Sinusoidal features of timesteps t (B,) → (B, dim), wavelengths from 2π to 10⁴·2π."""
    half = dim // 2
    frequencies = torch.exp(-math.log(1e4) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimeSequenceEmbedding(nn.Module):
    """Timestep and sequence embedded and added: (B,) and (B,) → (B, dim)."""

    def __init__(self, sequences: int, base: int, dim: int) -> None:
        super().__init__()
        self.base = base
        self.time = nn.Sequential(nn.Linear(base, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.sequence = nn.Embedding(sequences, dim)

    def forward(self, t: Tensor, sequence: Tensor) -> Tensor:
        """Embed timesteps t (B,) and sequence indices m (B,) → (B, dim)."""
        return F.silu(self.time(sinusoidal_embedding(t, self.base)) + self.sequence(sequence))


def modulate(normalised: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(1 + scale) ⊙ F + shift with scale and shift (B, C) over F (B, C, H, W, D)."""
    view = (*scale.shape, 1, 1, 1)
    return torch.addcmul(shift.view(view), normalised, 1.0 + scale.view(view))


class StyleMLP(nn.Module):
    """MLP_l of Eq. 8: a style code → scale and shift offsets of one decoder level.

    Its last layer starts at zero, so AdaIN starts as plain instance normalisation whatever the style.
    """

    def __init__(self, code: int, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(code, hidden), nn.SiLU(), zero_module(nn.Linear(hidden, 2 * channels))
        )

    def forward(self, code: Tensor) -> Tensor:
        """(B, code) numbers of a :func:`~bids_mmh.method.style.code.style_code` → (B, 2·channels): δ, β."""
        return self.layers(code)


class ResBlock(nn.Module):
    """Residual block whose second normalisation carries the conditioning.

    In the encoder that is GroupNorm modulated by the time and sequence embedding; in the decoder
    (``adain=True``) it is instance normalisation modulated by embedding and style together, which is AdaIN
    (Eq. 8) that still depends on t and m.
    """

    def __init__(
        self, inputs: int, outputs: int, embedding: int, groups: int, *, adain: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(math.gcd(groups, inputs), inputs)
        self.conv1 = nn.Conv3d(inputs, outputs, 3, padding=1)
        # InstanceNorm is GroupNorm with one channel a group
        self.norm2 = nn.GroupNorm(outputs if adain else groups, outputs, affine=not adain)
        self.condition = zero_module(nn.Linear(embedding, 2 * outputs))
        self.conv2 = zero_module(nn.Conv3d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv3d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor, style: Tensor | None = None) -> Tensor:
        """Transform x (B, inputs, H, W, D) → (B, outputs, H, W, D).

        Args:
            x: features.
            embedding: time and sequence (B, embedding).
            style: offsets of a :class:`StyleMLP` (B, 2·outputs), added to those of the embedding.
        """
        condition = self.condition(embedding)
        if style is not None:
            condition = condition + style
        scale, shift = condition.chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(modulate(self.norm2(h), scale, shift)))
        return self.skip(x) + h


class SelfAttention(nn.Module):
    """Multi-head self-attention over all voxels of a level, with a residual connection.

    ``scaled_dot_product_attention`` never materialises the (voxels × voxels) matrix on a GPU.
    """

    def __init__(self, channels: int, groups: int, head_channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // head_channels)
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zero_module(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Attend over all voxels of x (B, C, H, W, D); same shape."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        batch, count, channels = tokens.shape
        qkv = self.qkv(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        attended = self.out(attended.transpose(1, 2).reshape(batch, count, channels))
        return x + attended.transpose(1, 2).reshape(x.shape)


def space_to_depth(x: Tensor, patch: int) -> Tensor:
    """Fold patch³ voxels into channels: (B, C, H, W, D) → (B, C·p³, H/p, W/p, D/p)."""
    b, c, h, w, d = x.shape
    x = x.view(b, c, h // patch, patch, w // patch, patch, d // patch, patch)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * patch**3, h // patch, w // patch, d // patch)


def depth_to_space(x: Tensor, patch: int) -> Tensor:
    """Inverse of :func:`space_to_depth`."""
    b, c, h, w, d = x.shape
    x = x.view(b, c // patch**3, patch, patch, patch, h, w, d)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // patch**3, h * patch, w * patch, d * patch)
