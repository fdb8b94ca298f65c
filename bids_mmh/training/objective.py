"""The Stage I objective of one batch (Eq. 11) and the draws it is made on."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bids_mmh.method.gradient import gradient_map
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.losses import ema_loss, gradient_loss, noise_loss, reliability
from bids_mmh.method.style import StyleStatistics, style_statistics
from bids_mmh.training.data import Volume
from bids_mmh.training.recipe import Recipe


@dataclass(frozen=True)
class Draw:
    """Random choices for a batch: timesteps (B,), noise like the images, and who is told the record (B,)."""

    t: Tensor
    noise: Tensor
    unified: Tensor

    def to(self, device: torch.device) -> "Draw":
        """The same choices on ``device``."""
        return Draw(self.t.to(device), self.noise.to(device), self.unified.to(device))


def draw(volume: Volume, recipe: Recipe, seed: int) -> Draw:
    """Choices that depend on ``seed`` alone, so that a resumed run repeats an unbroken one."""
    generator = torch.Generator().manual_seed(seed)
    batch = volume.image.shape[0]
    deepest = min(recipe.max_timestep, 1000)
    return Draw(
        t=torch.randint(1, deepest + 1, (batch,), generator=generator),
        noise=torch.randn(volume.image.shape, generator=generator),
        unified=torch.rand(batch, generator=generator) < recipe.unified_share,
    )


@dataclass(frozen=True)
class Losses:
    """Total and its weighted parts, means over the batch."""

    total: Tensor
    noise: Tensor
    gradient: Tensor
    ema: Tensor


def stage1_losses(
    model: Harmonizer, network: nn.Module, volume: Volume, draw: Draw, recipe: Recipe, *, update: bool
) -> Losses:
    """Eq. 11 on one batch.

    A sample is told either its own style or the record of its sequence (``draw.unified``). Under its own
    style the clean volume is known, so L_N counts everywhere. Under the record, at t ≤ τ, the clean volume
    is *not* the scan itself but the same anatomy in the unified domain: there L_N counts in the background
    alone, and L_G and L_E say what the brain should be.

    Args:
        model: harmonizer in training; its records are updated if ``update``.
        network: the model's network as the training engine wraps it.
        volume: batch on the model's grid.
        draw: timesteps, noise and conditioning.
        recipe: loss weights.
        update: whether to update the EMA records (training) or not (validation).
    """
    schedule, records = model.schedule, model.records
    own = style_statistics(volume.image, volume.mask, model.config.bins)
    if update:
        records.initialise(volume.sequence, own)
    record = records.of(volume.sequence)
    style = torch.where(draw.unified[:, None], record.moments, own.moments)
    gradient = gradient_map(volume.image)
    noisy = schedule.add_noise(volume.image, draw.noise, draw.t)
    epsilon = network(noisy, draw.t, gradient, volume.sequence, style)
    estimate = schedule.clean_estimate(noisy, epsilon, draw.t)
    moved = draw.unified & (draw.t <= model.config.threshold)
    counts = ~(volume.mask & moved.view(-1, 1, 1, 1, 1))
    noise = recipe.weight_noise * noise_loss(draw.noise, epsilon, counts)
    anatomy = recipe.weight_gradient * gradient_loss(gradient, estimate)
    ema = recipe.weight_ema * _ema_term(model, volume, estimate, draw, moved, update=update)
    return Losses((noise + anatomy + ema).mean(), noise.mean(), anatomy.mean(), ema.mean())


def _ema_term(
    model: Harmonizer, volume: Volume, estimate: Tensor, draw: Draw, moved: Tensor, *, update: bool
) -> Tensor:
    """L_E of the samples moved to the record; 0 for the others, whose statistics are not computed."""
    losses = [estimate.new_zeros(())] * len(moved)
    for i in moved.nonzero().flatten().tolist():
        style: StyleStatistics = style_statistics(
            estimate[i : i + 1], volume.mask[i : i + 1], model.config.bins
        )
        sequence = volume.sequence[i : i + 1]
        if update:
            model.records.update(sequence, style, torch.ones(1, dtype=torch.bool))
        weight = reliability(draw.t[i : i + 1], model.config.threshold).to(estimate.device)
        losses[i] = (weight * ema_loss(model.records.of(sequence), style))[0]
    return torch.stack(losses)
