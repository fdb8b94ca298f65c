"""The conditional 3D U-Net that predicts noise (paper 3.2, 3.4)."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bids_mmh.method.config import PAPER_SCHEDULE, NetworkConfig, ScheduleConfig
from bids_mmh.method.diffusion.blocks import (
    ResBlock,
    SelfAttention,
    StyleMLP,
    TimeSequenceEmbedding,
    depth_to_space,
    modulate,
    space_to_depth,
    zero_module,
)
from bids_mmh.method.diffusion.schedule import NoiseSchedule
from bids_mmh.method.padding import crop_to, pad_to_multiple
from bids_mmh.method.style.code import code_length
from bids_mmh.method.style.tissues import Tissue


class Stage(nn.Module):
    """Residual block and optional self-attention: one step of encoder or decoder."""

    def __init__(self, block: ResBlock, attention: SelfAttention | None) -> None:
        super().__init__()
        self.block = block
        self.attention = attention

    def forward(self, x: Tensor, embedding: Tensor, style: Tensor | None = None) -> Tensor:
        """Block, then attention if there is one; arguments as in :class:`ResBlock`."""
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
    code reaches every decoder block by AdaIN. A fresh network answers 0: its last convolution starts
    at zero.
    """

    def __init__(
        self, config: NetworkConfig, sequences: int, schedule: ScheduleConfig = PAPER_SCHEDULE
    ) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False  # trade time for memory in training
        channels, cells = config.channels, config.patch**3
        self.bins = config.intensity_bins
        self.embedding = TimeSequenceEmbedding(sequences, channels[0], self._embedding_dim)
        self.stem = nn.Conv3d((2 + self.bins) * cells, channels[0], 3, padding=1)
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        skips = self._fill_encoder()
        self.middle = self._middle()
        self.decoder = nn.ModuleList(
            [self._decoder_level(level, skips) for level in reversed(range(len(channels)))]
        )
        self.norm = nn.GroupNorm(config.groups, channels[0])
        # ε at low noise is the input minus an estimate, amplified: the gain of the direct path depends on t
        self.gain = zero_module(nn.Linear(self._embedding_dim, 2 * 2 * cells))
        code = code_length(config.style_code)
        self.style_gain = StyleMLP(code, 2 * cells) if config.direct_change else None
        answers = 2 * cells if config.direct_change else cells
        self.head = zero_module(nn.Conv3d(channels[0] + 2 * cells, answers, 3, padding=1))
        self.schedule = NoiseSchedule(schedule)

    @property
    def _embedding_dim(self) -> int:
        return 4 * self.config.channels[0]

    def _block(self, inputs: int, outputs: int, *, adain: bool = False) -> ResBlock:
        return ResBlock(inputs, outputs, self._embedding_dim, self.config.groups, adain=adain)

    def _attention(self, channels: int) -> SelfAttention:
        return SelfAttention(channels, self.config.groups, self.config.head_channels)

    def _stage(self, inputs: int, level: int, *, adain: bool) -> Stage:
        block = self._block(inputs, self.config.channels[level], adain=adain)
        attention = self._attention(self.config.channels[level]) if self.config.attention[level] else None
        return Stage(block, attention)

    def _fill_encoder(self) -> list[int]:
        """Fill ``encoder`` and ``down``; returns the channels of each skip connection in order."""
        channels = self.config.channels
        skips = [channels[0]]
        for level, out in enumerate(channels):
            stages = nn.ModuleList()
            for _ in range(self.config.res_blocks):
                stages.append(self._stage(skips[-1], level, adain=False))
                skips.append(out)
            self.encoder.append(stages)
            if level < len(channels) - 1:
                self.down.append(nn.Conv3d(out, out, 3, stride=2, padding=1))
                skips.append(out)
        return skips

    def _middle(self) -> nn.ModuleList:
        width = self.config.channels[-1]
        attended = Stage(self._block(width, width), self._attention(width))
        return nn.ModuleList([attended, Stage(self._block(width, width), None)])

    def _decoder_level(self, level: int, skips: list[int]) -> DecoderLevel:
        """One decoder level; takes the skips it uses off the end of ``skips``."""
        channels, width = self.config.channels, self.config.channels[level]
        stages = [
            self._stage(width + skips.pop(), level, adain=True) for _ in range(self.config.res_blocks + 1)
        ]
        style = StyleMLP(code_length(self.config.style_code), width)
        # narrow before the wide concatenation of the next level
        up = nn.Conv3d(width, channels[level - 1], 3, padding=1) if level > 0 else None
        return DecoderLevel(stages, style, up)

    def forward(
        self,
        volume: Tensor,
        t: Tensor,
        gradient: Tensor,
        sequence: Tensor,
        style: Tensor,
        *,
        split: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Predict ε: the noise, less the change of style in units of the noise at t.

        A change of style is the same at every t; in ε it grows as 1/σ. Predicted in ε alone it would have to
        be learnt at each t anew.

        Args and shape as in :meth:`parts`; with ``split`` the two are returned apart.
        """
        epsilon, change = self.parts(volume, t, gradient, sequence, style)
        if split:
            return epsilon, change
        if change is None:
            return epsilon
        return epsilon - self.per_noise(t, change) * change

    def per_noise(self, t: Tensor, like: Tensor) -> Tensor:
        """√SNR at timesteps t (B,): what a change of the clean volume weighs in ε; (B, 1, 1, 1, 1)."""
        return self.schedule.snr(t.clamp(min=1)).sqrt().to(like).view(-1, 1, 1, 1, 1)

    def parts(
        self, volume: Tensor, t: Tensor, gradient: Tensor, sequence: Tensor, style: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Predict the noise in a volume, and how its clean version changes.

        Args:
            volume: noisy volume (B, 1, H, W, D); padded with background to sides that the network can halve.
            t: timesteps (B,).
            gradient: gradient map G of the clean scan, shape of ``volume``.
            sequence: sequence indices m (B,).
            style: code of the style to be in (B, code), of :func:`~bids_mmh.method.style.code.style_code`.

        Returns:
            ε and the change, shape of ``volume``; no change where the network predicts ε alone.
        """
        shape = volume.shape
        volume = pad_to_multiple(volume, self.config.multiple)
        gradient = pad_to_multiple(gradient, self.config.multiple, value=0.0)
        embedding = self.embedding(t, sequence)
        inputs = torch.cat([space_to_depth(v, self.config.patch) for v in (volume, gradient)], dim=1)
        x, skips = self._encode(self._with_bins(volume, inputs, style), embedding)
        for stage in self.middle:
            x = self._run(stage, x, embedding)
        x = self._decode(x, skips, embedding, style)
        x = nn.functional.silu(self.norm(x))
        gain = self.gain(embedding)
        if self.style_gain is not None:
            gain = gain + self.style_gain(style)
        answer = self.head(torch.cat([x, modulate(inputs, *gain.chunk(2, dim=1))], dim=1))
        if not self.config.direct_change:
            return crop_to(depth_to_space(answer, self.config.patch), shape), None
        epsilon, change = (depth_to_space(part, self.config.patch) for part in answer.float().chunk(2, dim=1))
        return crop_to(epsilon, shape), crop_to(change, shape)

    def _with_bins(self, volume: Tensor, inputs: Tensor, style: Tensor) -> Tensor:
        """The stem's channels: the inputs, and the bins of intensity where the network has them."""
        if not self.bins:
            return inputs
        bins = soft_bins(volume, style[:, [Tissue.FLUID, Tissue.CORTICAL_GREY, Tissue.WHITE]], self.bins)
        return torch.cat([inputs, space_to_depth(bins, self.config.patch).to(inputs.dtype)], dim=1)

    def _encode(self, inputs: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.stem(inputs)
        skips = [x]
        for level, stages in enumerate(self.encoder):
            for stage in cast(nn.ModuleList, stages):
                x = self._run(stage, x, embedding)
                skips.append(x)
            if level < len(self.down):
                x = self.down[level](x)
                skips.append(x)
        return x, skips

    def _decode(self, x: Tensor, skips: list[Tensor], embedding: Tensor, style: Tensor) -> Tensor:
        for module in self.decoder:
            level = cast(DecoderLevel, module)
            offsets = level.style(style)
            for stage in level.stages:
                x = self._run(stage, torch.cat([x, skips.pop()], dim=1), embedding, offsets)
            if level.up is not None:
                x = level.up(nn.functional.interpolate(x, scale_factor=2, mode="nearest"))
        return x

    def _run(self, stage: nn.Module, *args: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(stage, *args, use_reentrant=False)
        return stage(*args)


def soft_bins(volume: Tensor, knots: Tensor, bins: int) -> Tensor:
    """Membership of each voxel in bins between fluid (0), grey (1) and white matter (2), and a little beyond.

    Args:
        volume: (B, 1, H, W, D).
        knots: (B, 3) intensities of fluid, grey and white matter.
        bins: number K of bins, centred evenly over [−0.5, 2.5].

    Returns:
        (B, K, H, W, D), each voxel's memberships sum to 1.
    """
    fluid, grey, white = (k.view(-1, 1, 1, 1, 1).to(volume) for k in knots.unbind(1))
    offset = volume - grey
    # the lesser of the gap and a floor, with its sign: a style without contrast must not divide by zero
    down, up = (torch.where((g := k - grey).abs() < 0.02, 0.02, g) for k in (fluid, white))
    place = 1 + torch.where((offset < 0) == (down < 0), -offset / down, offset / up)
    width = 3.0 / (bins - 1)
    centres = torch.linspace(-0.5, 2.5, bins, device=volume.device).view(1, -1, 1, 1, 1)
    # in place: one volume for each bin, and a new one of them at each operation would cost more than the sums
    return (place.clamp(-0.5, 2.5) - centres).div_(width).abs_().neg_().add_(1).clamp_(min=0)
