"""Figures of a study for ``table.py``, after Figs. 2 to 5 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bids_mmh.evaluation.controls.methods import RAW
from bids_mmh.evaluation.metrics.similarity import intensity_histogram
from bids_mmh.evaluation.metrics.statistics import BIN_WIDTH, HISTOGRAM_BINS, HISTOGRAM_RANGE
from bids_mmh.evaluation.probes.features import tsne
from bids_mmh.reports.figures.evaluation import (
    CONTROL,
    HIGHLIGHT,
    PLAIN,
    FeatureMap,
    draw_feature_map,
    draw_violin,
    pair_figure,
    site_styles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from parts import Part

BIN_CENTRES = HISTOGRAM_RANGE[0] + BIN_WIDTH * (np.arange(HISTOGRAM_BINS) + 0.5)
VIOLINS = {
    "ssim": "SSIM (higher is better)",
    "psnr": "PSNR, dB (higher is better)",
    "pcc": "PCC (higher is better)",
    "wd": "WD (lower is better)",
}


def draw_figures(parts: Sequence[Part], prefix: Path) -> None:
    """Write ``PREFIX_histograms.png``, ``_violins.png``, ``_tsne.png`` and ``_mosaic_<sequence>.png``."""
    figures = {
        "histograms": histograms(parts),
        "violins": violins(parts),
        "tsne": feature_maps(parts),
        **{f"mosaic_{part.sequence}": mosaic(part) for part in parts},
    }
    for name, figure in figures.items():
        figure.savefig(prefix.with_name(f"{prefix.name}_{name}.png"), dpi=130)


def colours(part: Part) -> dict[str, str]:
    """A colour for each site, the target's always the same."""
    styles = site_styles(sorted({scan.site for scan in part.scans}), part.target)
    return {site: colour for site, (colour, _) in styles.items()}


def before_and_after(part: Part) -> list[str]:
    """The methods that figures of two panels show: raw and the first variant, or the classical control."""
    return [RAW, part.main or "Histogram matching"]


def histograms(parts: Sequence[Part]) -> Figure:
    """Mean histogram of each site in the test scans, before and after; bold: the target, raw."""
    figure = Figure(figsize=(9, 2.9 * len(parts)), layout="constrained")
    rows = figure.subplots(len(parts), 2, squeeze=False, sharex=True, sharey="row")
    for row, part in zip(rows, parts, strict=True):
        for axes, name in zip(row, before_and_after(part), strict=True):
            wanted = _mean_density(part, RAW, part.target)
            axes.plot(BIN_CENTRES, wanted, color=HIGHLIGHT, lw=3, alpha=0.5, label=f"{part.target} (target)")
            for site, colour in colours(part).items():
                if (site, name) != (part.target, RAW):
                    label = None if site == part.target else site
                    axes.plot(BIN_CENTRES, _mean_density(part, name, site), color=colour, lw=1.3, label=label)
            wd = part.methods[name].study.inter_site_wd
            axes.set_title(f"{part.sequence}, {name}: inter-site WD {wd:.3f}", fontsize=10)
            axes.set_ylim(bottom=0)
        row[0].set_ylabel("density")
        row[0].legend(fontsize=8, frameon=False)
    for axes in rows[-1]:
        axes.set_xlabel("scaled intensity in the brain")
    return figure


def _mean_density(part: Part, method: str, site: str) -> NDArray[np.float64]:
    outputs = part.methods[method].outputs
    counts = [intensity_histogram(outputs[s.name][s.mask]) for s in part.scans if s.site == site]
    return np.mean([count / count.sum() for count in counts], axis=0) / BIN_WIDTH


def violins(parts: Sequence[Part]) -> Figure:
    """Likeness to the scan at the target site, one violin a method, with every pair as a point."""
    count = max(len(part.methods) for part in parts)
    figure = Figure(figsize=(14, (1.4 + 0.32 * count) * len(parts)), layout="constrained")
    rows = figure.subplots(len(parts), len(VIOLINS), squeeze=False, sharey="row")
    for row, part in zip(rows, parts, strict=True):
        for axes, (column, title) in zip(row, VIOLINS.items(), strict=True):
            _violins(axes, part, column)
            axes.set_title(f"{part.sequence}, {title}", fontsize=10)
    return figure


def _violins(axes: Axes, part: Part, column: str) -> None:
    names = list(part.methods)
    for place, name in enumerate(names):
        colour = HIGHLIGHT if name == part.main else PLAIN if name == RAW else CONTROL
        draw_violin(axes, [pair[column] for pair in part.methods[name].pairs], place, colour)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", lw=0.4)


def feature_maps(parts: Sequence[Part]) -> Figure:
    """t-SNE of the random features: colours are sites, numbers are subjects, crosses are sites' centres."""
    figure = Figure(figsize=(9, 4.4 * len(parts)), layout="constrained")
    rows = figure.subplots(len(parts), 2, squeeze=False)
    for row, part in zip(rows, parts, strict=True):
        for axes, name in zip(row, before_and_after(part), strict=True):
            _feature_map(axes, part, name)
    handles, labels = rows[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)
    return figure


def _feature_map(axes: Axes, part: Part, name: str) -> None:
    method = part.methods[name]
    inter, intra = method.study.distances.inter_site, method.study.distances.intra_site
    subjects = sorted({scan.subject for scan in part.scans})
    numbers = [str(subjects.index(scan.subject) + 1) for scan in part.scans]
    sites = [scan.site for scan in part.scans]
    draw_feature_map(axes, FeatureMap(tsne(method.features), inter, intra), sites, part.target, numbers)
    axes.set_title(f"{part.sequence}, {name}: between sites {inter:.2f}, within {intra:.2f}", fontsize=10)


def mosaic(part: Part) -> Figure:
    """One pair: the source, what each method made of it, the target; below, each minus the target."""
    # The pair that raw scans are least alike in: the hardest one, chosen by no method's result.
    raw = [pair["ssim"] for pair in part.methods[RAW].pairs]
    scan, target = part.pairs[int(np.argmin(raw))]
    images = {name: method.outputs[scan.name] for name, method in part.methods.items()}
    images = {f"{RAW} ({scan.site})": images.pop(RAW), **images}
    reference = (f"Target ({target.site})", target.preproc)
    figure = pair_figure(images, dict.fromkeys(images, target.preproc), reference, scan.mask & target.mask)
    figure.suptitle(f"{part.sequence}, {scan.subject} from {scan.site}", fontsize=10)
    return figure
