"""Pictures of what ``preprocessing.py`` measured: outlines on the scan, and the scan on the template."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from outcome import Outcome

from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import to_array
from bids_mmh.preprocess.steps.load import load_scan

mpl.use("agg")
import matplotlib.pyplot as plt

CUTS = (0.35, 0.5, 0.65)


def draw(outcome: Outcome, path: Path, brain: Path | None = None) -> None:
    """Draw nine slices of the scan with its mask (red) and the true one (green), and three in MNI space."""
    scan = load_scan(outcome.raw).image
    values, sizes = to_array(scan), scan.GetSpacing()
    masks = [(load_scan(outcome.folder / "native_mask.nii.gz").image, "red")]
    if brain is not None:
        masks.insert(0, (load_scan(brain).image, "lime"))
    inside = np.argwhere(to_array(masks[-1][0]) > 0)
    low, high = inside.min(axis=0), inside.max(axis=0)
    top = np.percentile(values[tuple(inside[::50].T)], 99.5) * 1.1
    figure, axes = plt.subplots(3, 4, figsize=(12, 10), facecolor="black")
    for axis in range(3):
        for place, ax in zip(CUTS, axes[axis], strict=False):
            index = int(low[axis] + place * (high[axis] - low[axis]))
            aspect = np.delete(sizes, axis)
            view = np.take(values, index, axis).T
            ax.imshow(view, cmap="gray", origin="lower", vmin=0, vmax=top, aspect=aspect[1] / aspect[0])
            for mask, colour in masks:
                if mask.GetSize() == scan.GetSize():
                    outline = np.take(to_array(mask), index, axis).T
                    ax.contour(outline, levels=[0.5], colors=colour, linewidths=0.7)
    _draw_mni(outcome, axes[:, 3])
    for ax in axes.ravel():
        ax.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def _draw_mni(outcome: Outcome, axes: "np.ndarray") -> None:
    from bids_mmh.preprocess.steps.resample import template_on_grid
    from bids_mmh.preprocess.template import NILEARN_SPACE, find_template

    template = find_template(NILEARN_SPACE, outcome.folder.parents[1])
    standard = template_on_grid(template.t1w, template.brain_mask, model_grid(1.0)).t1w
    values, edges = outcome.image("mni_preproc"), to_array(standard)
    for axis, ax in enumerate(axes):
        middle = values.shape[axis] // 2
        ax.imshow(np.take(values, middle, axis).T, cmap="gray", origin="lower")
        levels = [0.3 * edges.max(), 0.75 * edges.max()]
        ax.contour(np.take(edges, middle, axis).T, levels=levels, colors=("cyan", "orange"), linewidths=0.5)
