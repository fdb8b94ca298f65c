"""The Stage I objective of one batch (Eq. 11) and the draws it is made on."""

from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from bids_mmh.method.diffusion.losses import ema_loss, gradient_loss, noise_loss, reliability, tissue_loss
from bids_mmh.method.harmonizer import Anchor, Harmonizer, Styled
from bids_mmh.method.style.contrast import contrast_part
from bids_mmh.method.style.statistics import StyleStatistics, style_statistics
from bids_mmh.training.data.simulated_pairs import SimulatedPair

if TYPE_CHECKING:  # training on simulated pairs alone needs neither image formats nor recipe files
    from bids_mmh.training.data.scans import Volume
    from bids_mmh.training.recipe import Recipe


class PairWeights(Protocol):
    """What a recipe says about the losses of a simulated pair."""

    @property
    def weight_noise(self) -> float:
        """Weight of L_N."""

    @property
    def weight_gradient(self) -> float:
        """Weight of L_G."""

    @property
    def gradient_scales(self) -> int:
        """Resolutions at which L_G compares gradients."""


@dataclass(frozen=True)
class Draw:
    """Random choices for a batch: timesteps (B,), noise, and which samples see the record (B,)."""

    t: Tensor
    noise: Tensor
    unified: Tensor

    def to(self, device: torch.device) -> "Draw":
        """The same choices on ``device``."""
        return Draw(self.t.to(device), self.noise.to(device), self.unified.to(device))


def draw(volume: "Volume | SimulatedPair", recipe: "Recipe", seed: int) -> Draw:
    """Choices that depend on ``seed`` alone, so that a resumed run repeats an unbroken one."""
    generator = torch.Generator().manual_seed(seed)
    batch = volume.image.shape[0]
    deepest = min(recipe.max_timestep, recipe.model.schedule.timesteps)
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


@dataclass(frozen=True)
class Observation:
    """What a reliable estimate says about the style of its sequence: it moves the EMA record (Eq. 9).

    Only samples conditioned on their own style are observed. Their estimates are held to real scans by L_N;
    those of samples conditioned on the record are held to the record itself, and a record that follows them
    drifts away from every real scan (docs/method.md).

    Records move once per optimizer step, by the observations of all its samples in their order, so that one
    process and many end with the same records.
    """

    sequence: int
    style: StyleStatistics


@dataclass(frozen=True)
class Stage1Result:
    """Losses of a batch and the observations that are to move the records after the step."""

    losses: Losses
    observed: list[Observation]


def stage1_losses(
    model: Harmonizer, network: nn.Module, volume: "Volume", draw: Draw, recipe: "Recipe"
) -> Stage1Result:
    """Eq. 11 on one batch.

    A sample is conditioned either on its own style or on the record of its sequence (``draw.unified``). With
    its own style the clean volume is known, so L_N counts everywhere. With the record, at t ≤ τ, the clean
    volume is *not* the scan itself but the same anatomy in the unified domain, in another contrast: there L_N
    counts up to a function of intensity, and L_G and L_E say what that contrast should be. A model without
    EMA guidance (w/o E) is never conditioned on a record, one without gradient condition (w/o G) has no L_G.

    Args:
        model: harmonizer in training; its records are read, not moved.
        network: the model's network as the training engine wraps it.
        volume: batch on the model's grid.
        draw: timesteps, noise and conditioning.
        recipe: loss weights.
    """
    schedule = model.schedule
    gradient = model.gradient(volume.image)
    anchor = Anchor(volume.mask, gradient, volume.sequence, model.segment(volume.image, volume.mask))
    scan = Styled(volume.image, model.style(volume.image, anchor))
    record = model.records.of(volume.sequence)
    unified = draw.unified & model.config.ema_guidance
    mapped = model.landmark_map(scan, anchor, record)
    start = torch.where(unified.view(-1, 1, 1, 1, 1), mapped.value, scan.value)
    unchanged = model.style_code(scan.style, scan.style)
    code = torch.where(unified[:, None], model.style_code(mapped.style, record), unchanged)
    noisy = schedule.add_noise(start, draw.noise, draw.t)
    epsilon = network(noisy, draw.t, gradient, volume.sequence, code)
    estimate = schedule.clean_estimate(noisy, epsilon, draw.t)
    moved = unified & (draw.t <= model.config.threshold)
    noise = recipe.weight_noise * _noise_term(replace(volume, image=start), draw, epsilon, moved, recipe)
    anatomy = recipe.weight_gradient * _anatomy_term(model, volume, estimate, recipe)
    ema = recipe.weight_ema * _ema_term(model, volume, anchor, estimate, t=draw.t, moved=moved)
    observed = _observe(model, volume, anchor, estimate, ~unified & (draw.t <= model.config.threshold))
    losses = Losses((noise + anatomy + ema).mean(), noise.mean(), anatomy.mean(), ema.mean())
    return Stage1Result(losses, observed)


def pair_losses(
    model: Harmonizer, network: nn.Module, pair: SimulatedPair, draw: Draw, recipe: PairWeights
) -> Stage1Result:
    """Eq. 11 on a simulated pair, whose answer is known.

    L_N is exact at every t: the noise to predict is the one whose clean estimate is the target scanner's
    image. L_G holds the estimate to the scan's gradients as ever, and there is nothing left for L_E to say.

    Args:
        model: harmonizer in training.
        network: the model's network as the training engine wraps it.
        pair: of the generator.
        draw: timesteps and noise; its conditioning is not used.
        recipe: loss weights.
    """
    schedule = model.schedule
    noisy = schedule.add_noise(pair.image, draw.noise, draw.t)
    code = model.style_code(pair.own, pair.style)
    gradient = pair.gradient if model.config.gradient_condition else torch.zeros_like(pair.gradient)
    epsilon = network(noisy, draw.t, gradient, pair.sequence, code, split=True)
    noise = recipe.weight_noise * _pair_noise_term(model, pair, draw, *epsilon)
    estimate = schedule.clean_estimate(noisy, epsilon[0], draw.t)
    if epsilon[1] is not None:
        estimate = estimate + epsilon[1]
    anatomy = noise.new_zeros(1)
    if model.config.gradient_condition and recipe.weight_gradient and bool(pair.mask.any()):
        anatomy = recipe.weight_gradient * gradient_loss(
            pair.image, estimate, pair.mask, recipe.gradient_scales
        )
    losses = Losses((noise + anatomy).mean(), noise.mean(), anatomy.mean(), noise.new_zeros(()))
    return Stage1Result(losses, [Observation(int(pair.sequence[0]), pair.seen)])


def _pair_noise_term(
    model: Harmonizer, pair: SimulatedPair, draw: Draw, epsilon: Tensor, change: Tensor | None
) -> Tensor:
    """L_N (B,) of a pair. Where noise and change are predicted apart, each has an answer of its own.

    Their sum in ε would be enough, but the error of the one would be noise in the gradient of the other.
    """
    everywhere = torch.ones_like(pair.mask)
    answer = pair.target - pair.image
    per_noise = model.network.per_noise(draw.t, answer)
    if change is None:
        return noise_loss(draw.noise - per_noise * answer, epsilon, everywhere)
    return noise_loss(draw.noise, epsilon, everywhere) + noise_loss(
        per_noise * answer, per_noise * change, everywhere
    )


def _noise_term(volume: "Volume", draw: Draw, epsilon: Tensor, moved: Tensor, recipe: "Recipe") -> Tensor:
    """L_N (B,); of samples moved to the record up to a contrast, or in the background alone."""
    free = volume.mask & moved.view(-1, 1, 1, 1, 1)
    if not recipe.noise_up_to_contrast:
        return noise_loss(draw.noise, epsilon, ~free)
    noise = draw.noise - contrast_part(volume.image, draw.noise - epsilon, free)
    return noise_loss(noise, epsilon, torch.ones_like(free))


def _anatomy_term(model: Harmonizer, volume: "Volume", estimate: Tensor, recipe: "Recipe") -> Tensor:
    """L_G (B,); 0 where the model does without the gradient condition."""
    if not model.config.gradient_condition:
        return estimate.new_zeros(len(estimate))
    return gradient_loss(volume.image, estimate, volume.mask, recipe.gradient_scales)


def _ema_term(
    model: Harmonizer, volume: "Volume", anchor: Anchor, estimate: Tensor, *, t: Tensor, moved: Tensor
) -> Tensor:
    """L_E of the samples moved to the record; 0 for the others, whose statistics are not computed."""
    losses = [estimate.new_zeros(())] * len(moved)
    for i in moved.nonzero().flatten().tolist():
        one = slice(i, i + 1)
        style = style_statistics(estimate[one], volume.mask[one], model.config.bins)
        weight = reliability(t[one], model.config.threshold).to(estimate.device)
        record = model.records.of(volume.sequence[one])
        loss = ema_loss(record, style)
        if anchor.segmentation is not None:
            loss = loss + tissue_loss(record.by_tissue, estimate[one], anchor.segmentation.maps[one])
        losses[i] = (weight * loss)[0]
    return torch.stack(losses)


def _observe(
    model: Harmonizer, volume: "Volume", anchor: Anchor, estimate: Tensor, reliable: Tensor
) -> list[Observation]:
    """What the estimates of the reliable samples say about the styles of their sequences."""
    found = []
    for i in reliable.nonzero().flatten().tolist() if model.config.ema_guidance else ():
        with torch.no_grad():
            one = slice(i, i + 1)
            segmentation = anchor.segmentation
            if segmentation is not None:
                segmentation = segmentation.map(itemgetter(one))
            style = style_statistics(
                estimate[one], volume.mask[one], model.config.bins, segmentation=segmentation
            )
        found.append(Observation(int(volume.sequence[i]), style))
    return found
