"""The conditional 3D U-Net that predicts noise (paper 3.2, 3.4)."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bids_mmh.method.blocks import (
    ResBlock,
    SelfAttention,
    StyleMLP,
    TimeSequenceEmbedding,
    depth_to_space,
    space_to_depth,
    zero_module,
)
from bids_mmh.method.config import NetworkConfig


class Stage(nn.Module):
    """Residual block and optional self-attention: one step of encoder or decoder."""

    def __init__(self, block: ResBlock, attention: SelfAttention | None) -> None:
        super().__init__()
        self.block = block
        self.attention = attention

    def forward(self, x: Tensor, embedding: Tensor, style: Tensor | None = None) -> Tensor:
        x = self.block(x, embedding, style)
        return x if self.attention is None else self.attention(x)


class DecoderLevel(nn.Module):
    """Decoder stages of one level sharing one style MLP, then the way up (none at the finest level)."""

    def __init__(self, stages: list[Stage], style: StyleMLP, up: nn.Module | None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.style = style
        self.up = up


class ConditionalUNet(nn.Module):
    """ε_θ(I_t, t, G, m, style): predicts the noise in a volume.

    The noisy volume and its gradient map are concatenated; time and sequence reach every block; the style
    (mean, std) reaches every decoder block by AdaIN. A fresh network answers 0: its last convolution starts
    at zero.
    """

    def __init__(self, config: NetworkConfig, sequences: int) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False  # trade time for memory in training
        channels, cells = config.channels, config.patch**3
        embedding = 4 * channels[0]
        self.embedding = TimeSequenceEmbedding(sequences, channels[0], embedding)
        self.stem = nn.Conv3d(2 * cells, channels[0], 3, padding=1)

        def stage(inputs: int, level: int, *, adain: bool) -> Stage:
            block = ResBlock(inputs, channels[level], embedding, config.groups, adain=adain)
            attention = SelfAttention(channels[level], config.groups, config.head_channels)
            return Stage(block, attention if config.attention[level] else None)

        self.encoder = nn.ModuleList()
        self.down = nn.ModuleList()
        skips, width = [channels[0]], channels[0]
        for level, out in enumerate(channels):
            stages = []
            for _ in range(config.res_blocks):
                stages.append(stage(width, level, adain=False))
                width = out
                skips.append(out)
            self.encoder.append(nn.ModuleList(stages))
            if level < len(channels) - 1:
                self.down.append(nn.Conv3d(out, out, 3, stride=2, padding=1))
                skips.append(out)
        self.middle = nn.ModuleList(
            [
                Stage(
                    ResBlock(width, width, embedding, config.groups),
                    SelfAttention(width, config.groups, config.head_channels),
                ),
                Stage(ResBlock(width, width, embedding, config.groups), None),
            ]
        )
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(channels))):
            stages = []
            for _ in range(config.res_blocks + 1):
                stages.append(stage(width + skips.pop(), level, adain=True))
                width = channels[level]
            style = StyleMLP(width)
            up = None
            if level > 0:  # narrow before the wide concatenation of the next level
                up = nn.Conv3d(width, channels[level - 1], 3, padding=1)
                width = channels[level - 1]
            self.decoder.append(DecoderLevel(stages, style, up))
        self.norm = nn.GroupNorm(config.groups, width)
        self.head = zero_module(nn.Conv3d(width + 2 * cells, cells, 3, padding=1))

    def forward(self, volume: Tensor, t: Tensor, gradient: Tensor, sequence: Tensor, style: Tensor) -> Tensor:
        """Predict ε.

        Args:
            volume: noisy volume (B, 1, H, W, D); sides divisible by ``config.multiple``.
            t: timesteps (B,).
            gradient: gradient map G of the clean scan, shape of ``volume``.
            sequence: sequence indices m (B,).
            style: mean and standard deviation (B, 2) of the domain to be in.

        Returns:
            ε, shape of ``volume``.
        """
        embedding = self.embedding(t, sequence)
        inputs = torch.cat([space_to_depth(v, self.config.patch) for v in (volume, gradient)], dim=1)
        x = self.stem(inputs)
        skips = [x]
        for level, stages in enumerate(self.encoder):
            for stage in stages:
                x = self._run(stage, x, embedding)
                skips.append(x)
            if level < len(self.down):
                x = self.down[level](x)
                skips.append(x)
        for stage in self.middle:
            x = self._run(stage, x, embedding)
        for decoder in self.decoder:
            offsets = decoder.style(style)
            for stage in decoder.stages:
                x = self._run(stage, torch.cat([x, skips.pop()], dim=1), embedding, offsets)
            if decoder.up is not None:
                x = decoder.up(nn.functional.interpolate(x, scale_factor=2, mode="nearest"))
        x = nn.functional.silu(self.norm(x))
        return depth_to_space(self.head(torch.cat([x, inputs], dim=1)), self.config.patch)

    def _run(self, stage: nn.Module, *args: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(stage, *args, use_reentrant=False)
        return stage(*args)
