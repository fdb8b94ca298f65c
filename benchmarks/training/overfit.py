"""Overfit Stage I on two phantom volumes: what each loss of Eq. 11 comes to on data that is learnt by heart.

``python benchmarks/training/overfit.py [--steps 600] [--out docs/images/overfit.png]``. One subject at two
sites, T1w, on the 4 mm grid, the same two volumes over and over; the record lies midway between them. The
losses are measured on the same draws each time: both volumes at three timesteps with fixed noise, conditioned
on their own style (L_N, L_G) and on the record (L_G, L_E). The same seeds each time.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from template_phantoms import GRID, simulate

from bids_mmh.method.config import PRESETS, ModelConfig
from bids_mmh.method.diffusion.losses import ema_loss, reliability
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.precision import fast_autocast
from bids_mmh.method.style.statistics import mean_style, style_statistics
from bids_mmh.phantom.head.subject import build_head
from bids_mmh.phantom.head.template_head import template_head
from bids_mmh.phantom.imaging.acquisition import draw_site
from bids_mmh.preprocess.scaling import intensity_scaling
from bids_mmh.training.data.scans import Volume
from bids_mmh.training.loop.learning_rate import learning_rate
from bids_mmh.training.loop.training_loop import MAX_NORM
from bids_mmh.training.recipe import Phase, Recipe, model_on_grid
from bids_mmh.training.stage1.objective import Draw, Losses, draw, stage1_losses

SEED, FACTOR = 5, 4
EVERY = 20  # steps between measurements
TIMESTEPS = (10, 30, 60)  # that the losses are measured at
Curve = tuple[str, bool]  # a term of the losses, and whether the samples are conditioned on the record
CURVES: dict[Curve, str] = {
    ("noise", False): "L_N, own style",
    ("gradient", False): "L_G, own style",
    ("gradient", True): "L_G, conditioned on the record",
    ("ema", True): "L_E, conditioned on the record",
}


def two_volumes() -> list[Volume]:
    """One subject's T1w at two sites on the 4 mm grid."""
    head = build_head(template_head(), SEED, 0)
    volumes = []
    for number in (0, 1):
        rng = np.random.default_rng([SEED, number])
        values, mask = simulate(head, draw_site(SEED, number), "T1w", rng)
        slope, intercept = intensity_scaling(values[mask > 0])
        image = torch.from_numpy(_coarse(np.where(mask > 0, slope * values + intercept, -1.0)))
        volumes.append(Volume(image[None, None], image[None, None] > -0.999, torch.tensor([0])))
    return volumes


def _coarse(values: NDArray[np.float64]) -> NDArray[np.float32]:
    h, w, d = (side // FACTOR for side in GRID.shape)
    cells = values.reshape(h, FACTOR, w, FACTOR, d, FACTOR)
    return cells.mean(axis=(1, 3, 5)).astype(np.float32)


def model_between(volumes: list[Volume], config: ModelConfig) -> Harmonizer:
    """An untrained model whose record is the mean of the styles of the volumes: each has as far to go."""
    torch.manual_seed(SEED)
    model = Harmonizer(config)
    styles = [style_statistics(v.image, v.mask, config.bins) for v in volumes]
    model.records.assign(0, mean_style(styles))
    return model


def overfit(
    model: Harmonizer, volumes: list[Volume], recipe: Recipe
) -> tuple[list[int], dict[Curve, list[float]]]:
    """Train on all volumes in each step; returns the steps measured after, and the losses there."""
    (phase,) = recipe.phases
    optimizer = torch.optim.Adam(model.network.parameters())
    measured, curves = [0], {curve: [loss] for curve, loss in measure(model, volumes, recipe).items()}
    for step in range(phase.steps):
        optimizer.param_groups[0]["lr"] = learning_rate(phase, step)
        for part, volume in enumerate(volumes):
            # one sample is conditioned on its own style, the other on the record: all terms count each step
            chosen = replace(draw(volume, recipe, 2 * step + part), unified=torch.tensor([step % 2 == part]))
            stage_losses(model, volume, chosen, recipe).total.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % EVERY == 0 or step + 1 == phase.steps:
            measured.append(step + 1)
            for curve, loss in measure(model, volumes, recipe).items():
                curves[curve].append(loss)
    return measured, curves


def stage_losses(model: Harmonizer, volume: Volume, chosen: Draw, recipe: Recipe) -> Losses:
    """Eq. 11 on one volume, as fast as the machine can."""
    with fast_autocast(volume.image.device):
        return stage1_losses(model, model.network, volume, chosen, recipe).losses


@torch.no_grad()
def measure(model: Harmonizer, volumes: list[Volume], recipe: Recipe) -> dict[Curve, float]:
    """Each curve's unweighted loss, a mean over the volumes and TIMESTEPS."""
    plain = replace(recipe, weight_noise=1.0, weight_gradient=1.0, weight_ema=1.0)
    found: dict[Curve, list[float]] = {curve: [] for curve in CURVES}
    for (n, volume), t, unified in product(enumerate(volumes), TIMESTEPS, (False, True)):
        noise = torch.randn(volume.image.shape, generator=torch.Generator().manual_seed(1000 * n + t))
        chosen = Draw(torch.tensor([t]), noise, torch.tensor([unified]))
        losses = stage_losses(model, volume, chosen, plain)
        for term, on_record in CURVES:
            if on_record == unified:
                found[term, on_record].append(float(getattr(losses, term)))
    return {curve: sum(losses) / len(losses) for curve, losses in found.items()}


def unchanged(model: Harmonizer, volumes: list[Volume]) -> float:
    """L_E of the scans as they are: what a perfect denoiser that ignores the record would come to."""
    threshold = model.config.threshold
    return sum(
        float(reliability(torch.tensor([t]), threshold) * ema_loss(model.records.of(v.sequence), style))
        for v in volumes
        for style in [style_statistics(v.image, v.mask, model.config.bins)]
        for t in TIMESTEPS
    ) / (len(volumes) * len(TIMESTEPS))


def draw_curves(steps: list[int], curves: dict[Curve, list[float]], scans: float, path: Path) -> None:
    """A panel per loss, from 0 up; the scans' own L_E as a dashed line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.8), layout="constrained")
    titles = {"noise": "$L_N$", "gradient": "$L_G$", "ema": "$L_E$"}
    panels = dict(zip(titles, figure.subplots(1, 3), strict=True))
    for (term, on_record), losses in curves.items():
        label = "conditioned on the record" if on_record else "on its own style"
        panels[term].plot(steps, losses, color="C1" if on_record else "C0", label=label)
    panels["ema"].axhline(scans, color="0.4", linestyle="--", label="scans as they are")
    for term, axes in panels.items():
        axes.set(title=titles[term], xlabel="optimizer steps", xlim=(0, steps[-1]))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, draw, and print where the losses began and ended; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("docs/images/overfit.png"))
    options = parser.parse_args(argv)
    config = model_on_grid(PRESETS["lite"], 4.0)
    phase = Phase(4.0, options.steps, learning_rate=1e-3, accumulate=2)
    recipe = Recipe(config, (phase,), max_timestep=max(TIMESTEPS), weight_ema=60.0)
    volumes = two_volumes()
    model = model_between(volumes, config)
    scans = unchanged(model, volumes)
    steps, curves = overfit(model, volumes, recipe)
    draw_curves(steps, curves, scans, options.out)
    print("| loss | untrained | trained |\n|---|---:|---:|")
    for curve, title in CURVES.items():
        print(f"| {title} | {curves[curve][0]:.4f} | {curves[curve][-1]:.4f} |")
    print(f"\nL_E of the scans as they are: {scans:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
