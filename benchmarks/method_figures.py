"""Figures of a study for ``method_table.py``, after Figs. 2 to 5 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bids_mmh.evaluation.controls import RAW
from bids_mmh.evaluation.features import tsne
from bids_mmh.evaluation.similarity import intensity_histogram
from bids_mmh.evaluation.statistics import BIN_WIDTH, HISTOGRAM_BINS, HISTOGRAM_RANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from method_parts import Part

TARGET = "#d62728"
# Okabe and Ito's colours, which colour-blind readers can tell apart, without their red.
SITES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d31", "#444444")
GREY, DIFFERENCE = (-1.0, 1.0), 0.6
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
    others = sorted({scan.site for scan in part.scans} - {part.target})
    return {part.target: TARGET, **{site: SITES[i % len(SITES)] for i, site in enumerate(others)}}


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
            axes.plot(BIN_CENTRES, wanted, color=TARGET, lw=3, alpha=0.5, label=f"{part.target} (target)")
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
        values = np.array([getattr(pair, column) for pair in part.methods[name].pairs])
        values = values[np.isfinite(values)]
        colour = TARGET if name == part.main else "#888888" if name == RAW else SITES[0]
        if len(values) > 1 and np.ptp(values) > 0:
            (body,) = axes.violinplot(
                values, [place], orientation="horizontal", widths=0.8, showextrema=False
            )["bodies"]
            body.set_facecolor(colour)
        axes.scatter(values, np.full(len(values), place), s=9, color=colour, zorder=3)
        axes.plot([np.median(values)] * 2, [place - 0.35, place + 0.35], color="black", lw=1.2, zorder=4)
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
    points = tsne(method.features)
    inter, intra = method.study.distances.inter_site, method.study.distances.intra_site
    axes.set_title(f"{part.sequence}, {name}: between sites {inter:.2f}, within {intra:.2f}", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    if points is None:
        axes.text(0.5, 0.5, "too few scans", ha="center", transform=axes.transAxes)
        return
    subjects = sorted({scan.subject for scan in part.scans})
    for site, colour in colours(part).items():
        own = np.array([scan.site == site for scan in part.scans])
        label = f"{site} (target)" if site == part.target else site
        axes.scatter(*points[own].T, s=150, color=colour, alpha=0.3, lw=0, label=label)
        axes.scatter(*points[own].mean(axis=0), s=80, marker="x", color=colour)
    for point, scan in zip(points, part.scans, strict=True):
        axes.text(*point, str(subjects.index(scan.subject) + 1), ha="center", va="center", fontsize=8)
    axes.margins(0.12)


def mosaic(part: Part) -> Figure:
    """One pair: the source, what each method made of it, the target; below, each minus the target."""
    # The pair that raw scans are least alike in: the hardest one, chosen by no method's result.
    raw = [pair.ssim for pair in part.methods[RAW].pairs]
    scan, target = part.pairs[int(np.argmin(raw))]
    images = {name: method.outputs[scan.name] for name, method in part.methods.items()}
    images = {f"{RAW} ({scan.site})": images.pop(RAW), **images}
    images[f"Target ({target.site})"] = target.preproc
    figure = Figure(figsize=(1.55 * len(images), 4.1), layout="constrained")
    top, bottom = figure.subplots(2, len(images))
    both = scan.mask & target.mask
    where, crop = _slice(both)
    for above, below, (name, image) in zip(top, bottom, images.items(), strict=True):
        above.imshow(image[where][crop].T, origin="lower", cmap="gray", vmin=GREY[0], vmax=GREY[1])
        above.set_title(name.replace(" ", "\n", 1), fontsize=9)
        difference = np.where(both, image - target.preproc, 0)[where][crop].T
        shown = below.imshow(difference, origin="lower", cmap="RdBu_r", vmin=-DIFFERENCE, vmax=DIFFERENCE)
        error = float(np.abs(image - target.preproc)[both].mean())
        below.set_xlabel(f"mean abs. {error:.3f}", fontsize=8)
        for axes in (above, below):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
    # The target differs from itself nowhere: its place holds the colour bar.
    bottom[-1].clear()
    bottom[-1].set_axis_off()
    figure.colorbar(shown, cax=bottom[-1].inset_axes((0.1, 0.05, 0.12, 0.9)), label="minus target")
    figure.suptitle(f"{part.sequence}, {scan.subject} from {scan.site}", fontsize=10)
    return figure


def _slice(mask: NDArray[np.bool_]) -> tuple[tuple[Any, ...], tuple[slice, slice]]:
    """The axial slice with most brain, and the brain's extent in it."""
    level = int(mask.sum(axis=(0, 1)).argmax())
    rows, columns = (np.flatnonzero(mask[:, :, level].any(axis=axis)) for axis in (1, 0))
    return (slice(None), slice(None), level), (
        slice(rows[0], rows[-1] + 1),
        slice(columns[0], columns[-1] + 1),
    )
