"""Overfit Stage I on two phantom volumes: every loss has to fall as far as it should.

``python benchmarks/overfit.py [--steps 800] [--out docs/images/overfit.png]``. One person at two sites, T1w, on the
4 mm grid, the same two volumes over and over. L_N falls towards the noise that cannot be told from anatomy,
L_G towards 0, and L_E from the distance of the two scans to a small part of it. The same seeds each time.



"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from template_phantoms import GRID, simulate

from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.padding import pad_to_multiple
from bids_mmh.method.precision import fast_autocast
from bids_mmh.method.style import style_statistics
from bids_mmh.phantom.acquisition import draw_site
from bids_mmh.phantom.person import build_head
from bids_mmh.phantom.template_head import template_head
from bids_mmh.preprocess.scaling import intensity_scaling
from bids_mmh.training.data import Volume
from bids_mmh.training.objective import draw, stage1_losses
from bids_mmh.training.plan import learning_rate
from bids_mmh.training.recipe import Phase, Recipe, model_on_grid

SEED, FACTOR = 5, 4
TERMS = {"noise": "L_N", "gradient": "L_G", "ema": "L_E"}


def two_volumes(multiple: int) -> list[Volume]:
    """One person's T1w at two sites on the 4 mm grid."""
    head = build_head(template_head(), SEED, 0)
    volumes = []
    for number in (0, 1):
        rng = np.random.default_rng([SEED, number])
        values, mask = simulate(head, draw_site(SEED, number), "T1w", rng)
        slope, intercept = intensity_scaling(values[mask > 0])
        image = torch.from_numpy(_coarse(np.where(mask > 0, slope * values + intercept, -1.0)))
        padded = pad_to_multiple(image[None, None], multiple)
        volumes.append(Volume(padded, padded > -0.999, torch.tensor([0])))
    return volumes


def _coarse(values: NDArray[np.float64]) -> NDArray[np.float32]:
    h, w, d = (side // FACTOR for side in GRID.shape)
    cells = values.reshape(h, FACTOR, w, FACTOR, d, FACTOR)
    return cells.mean(axis=(1, 3, 5)).astype(np.float32)


def overfit(steps: int) -> dict[str, NDArray[np.float64]]:
    """Train on the two volumes in turn; returns the losses of each step, (steps,) per term."""
    config = model_on_grid(PRESETS["lite"], 4.0)
    phase = Phase(4.0, steps, learning_rate=1e-3, accumulate=2)
    recipe = Recipe(config, (phase,), max_timestep=60, unified_share=0.5, weight_ema=60.0)
    torch.manual_seed(SEED)
    model = Harmonizer(config)
    volumes = two_volumes(config.network.multiple)
    # the record lies between the two: each has as far to go
    styles = [style_statistics(v.image, v.mask, config.bins) for v in volumes]
    mean = replace(
        styles[0], **{n: (getattr(styles[0], n) + getattr(styles[1], n)) / 2 for n in vars(styles[0])}
    )
    model.records.assign(0, mean)
    optimizer = torch.optim.Adam(model.network.parameters())
    curves: dict[str, list[float]] = {name: [] for name in TERMS}
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(phase, step)
        sums = dict.fromkeys(TERMS, 0.0)
        for part, volume in enumerate(volumes):
            # one sample is told its own style, the other the record: all terms count in every step
            chosen = replace(draw(volume, recipe, 2 * step + part), unified=torch.tensor([step % 2 == part]))
            with fast_autocast(torch.device("cpu")):
                losses = stage1_losses(model, model.network, volume, chosen, recipe).losses
            losses.total.backward()
            for name in sums:
                sums[name] += float(getattr(losses, name).detach())
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for name, value in sums.items():
            curves[name].append(value / (recipe.weight_ema if name == "ema" else 2.0))
    return {name: np.asarray(values) for name, values in curves.items()}


def draw_curves(curves: dict[str, NDArray[np.float64]], path: Path) -> None:
    """Each loss with its running median."""
    from matplotlib.figure import Figure
    from scipy.ndimage import median_filter

    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, 3), TERMS.items(), strict=True):
        axes.semilogy(curves[name], color="0.8", linewidth=0.6)
        axes.semilogy(median_filter(curves[name], 51, mode="nearest"), color="C0")
        axes.set(title=f"${title}$", xlabel="step")
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, draw, and print where the losses began and ended; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("docs/images/overfit.png"))
    options = parser.parse_args(argv)
    curves = overfit(options.steps)
    draw_curves(curves, options.out)
    window = max(1, options.steps // 15)
    print("| loss | first | last |\n|---|---:|---:|")
    for name, title in TERMS.items():
        first, last = (np.mean(part) for part in (curves[name][:window], curves[name][-window:]))
        print(f"| {title} | {first:.4f} | {last:.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
