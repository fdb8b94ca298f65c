"""The forward diffusion process: how much noise a volume carries at timestep t (Eq. 1)."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bids_mmh.method.config import PAPER_SCHEDULE, ScheduleConfig


@dataclass(frozen=True)
class NoiseSchedule:
    """Variance schedule with β scaled-linear in √β, and t = 0 the clean image.

    The paper calls its schedule "linear"; only the scaled-linear form gives the numbers of its Fig. 8
    (SNR = 1 at t ≈ 254, SNR ≈ 4.65 at t = 100). The paper counts from its first noisy level, t = 0; here that
    is t = 1, because t = 0 is the clean image.

    Attributes:
        config: number of noise levels and β at both ends, as saved with the model.
    """

    config: ScheduleConfig = PAPER_SCHEDULE

    @cached_property
    def alpha_bar(self) -> Tensor:
        """Cumulative product ᾱ_t, shape (T + 1,), float64, with ᾱ_0 = 1 (the α of Eq. 4 is this one)."""
        start, end = self.config.beta_start**0.5, self.config.beta_end**0.5
        roots = torch.linspace(start, end, self.config.timesteps, dtype=torch.float64)
        alphas = 1.0 - roots.square()
        return torch.cat([torch.ones(1, dtype=torch.float64), alphas.cumprod(0)])

    def signal_and_noise(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return (√ᾱ_t, √(1 − ᾱ_t)) shaped (B, 1, 1, 1, 1) on the device and in the dtype of ``like``."""
        alpha_bar = self.alpha_bar[t.cpu()].view(-1, *[1] * (like.dim() - 1))
        return alpha_bar.sqrt().to(like), (1.0 - alpha_bar).sqrt().to(like)

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio ᾱ_t / (1 − ᾱ_t), float64, of integer timesteps t ≥ 1."""
        alpha_bar = self.alpha_bar[t.cpu()]
        return alpha_bar / (1.0 - alpha_bar)

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Eq. 1: the noisy volume at t. ``clean`` and ``noise`` (B, 1, H, W, D), ``t`` (B,) integer."""
        signal, sigma = self.signal_and_noise(t, clean)
        return signal * clean + sigma * noise

    def clean_estimate(self, noisy: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """Eq. 4: the one-step estimate of the clean volume from a predicted ε."""
        signal, sigma = self.signal_and_noise(t, noisy)
        return (noisy - sigma * epsilon) / signal
