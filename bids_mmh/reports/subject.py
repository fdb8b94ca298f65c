"""The page of one subject or session: the processing of each scan and its quality."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.reports.figures import scan as figures
from bids_mmh.reports.figures.encode import data_uri
from bids_mmh.reports.page import render

logger = logging.getLogger(__name__)

STATISTICS = ("mean", "std", "median", "p01", "p99", "skewness", "quartile_dispersion", "out_of_range")


@dataclass(frozen=True, eq=False)
class ScanReport:
    """What the subject page shows of one scan.

    All volumes but the native ones lie on one grid (X, Y, Z) with axes in RAS order; "scaled" intensities
    span about [-1, 1] in the brain, the background is -1.

    Attributes:
        sequence: Suffix of the scan: ``T1w``, ``T2w``, ...
        name: File name of the scan.
        site: Site, or None where it is not known.
        before: Scaled intensities before harmonization, (X, Y, Z).
        mask: Brain mask, (X, Y, Z); non-zero is brain.
        affine: Voxel to world of that grid, (4, 4), millimetres.
        statistics_before: ``ImageStatistics.to_dict()`` of ``before``.
        after: Scaled intensities after harmonization, (X, Y, Z), or None when only preprocessed.
        statistics_after: The same of ``after``, or None.
        space: Name of the space, for the captions.
        template: Brain-only T1w template, (X, Y, Z), constant background, any units; None skips its outline.
        anchor: For a scan that was registered to its T1w: that T1w, scaled, (X, Y, Z).
        native_image: The scan as acquired, (A, B, C), axes in RAS order; None skips the mask's outline.
        native_bias: Bias field that it was divided by, (A, B, C); None skips its figure.
        native_mask: Brain mask of ``native_image``, (A, B, C).
        native_affine: Voxel to world of ``native_image``, (4, 4), millimetres.
        qc: Quality numbers by name, shown as they are.
        warnings: One sentence for each thing that the user should check.
        model: Name of the model that harmonized the scan, or None.
        target: Site that it brings scans to, ``unified``, or None.
        change: Map of the anatomical change, shape and units of ``before``, or None.
        change_limit: Anatomical change above which a scan is flagged, scaled units.
        sidecars: Label to address (relative to the page) of machine-readable files.
    """

    sequence: str
    name: str
    site: str | None
    before: NDArray[Any]
    mask: NDArray[Any]
    affine: NDArray[Any]
    statistics_before: Mapping[str, Any]
    after: NDArray[Any] | None = None
    statistics_after: Mapping[str, Any] | None = None
    space: str = "MNI"
    change: NDArray[Any] | None = None
    change_limit: float = 1.0
    template: NDArray[Any] | None = None
    anchor: NDArray[Any] | None = None
    native_image: NDArray[Any] | None = None
    native_mask: NDArray[Any] | None = None
    native_bias: NDArray[Any] | None = None
    native_affine: NDArray[Any] | None = None
    qc: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    model: str | None = None
    target: str | None = None
    sidecars: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Status:
    label: str
    kind: str


@dataclass(frozen=True)
class _Picture:
    title: str
    caption: str
    source: str


def render_subject_report(
    *,
    subject: str,
    session: str | None,
    scans: Sequence[ScanReport],
    log: str,
    boilerplate: str,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> str:
    """Render the page of one subject or session.

    Args:
        subject: Subject label without ``sub-``.
        session: Session label without ``ses-``, or None.
        scans: The scans, in the order to show.
        log: Processing log, plain text.
        boilerplate: Text for a methods section, with its citations; empty lines separate paragraphs.
        settings: Options of the run by name.
        versions: Software versions by name.
        warnings: Sentences about the session as a whole.

    Returns:
        One HTML document with everything embedded; it opens without a network. Text is escaped.
    """
    title = f"sub-{subject}" + (f" ses-{session}" if session else "")
    logger.debug("Rendering the report of %s (%d scans).", title, len(scans))
    context = {
        "title": title,
        "status": _status(scans, warnings),
        "scans": [_scan_context(number, scan) for number, scan in enumerate(scans)],
        "log": log,
        "paragraphs": [part.strip() for part in boilerplate.split("\n\n") if part.strip()],
        "settings": settings,
        "versions": versions,
        "warnings": warnings,
    }
    return render("subject.html", context)


def _status(scans: Sequence[ScanReport], warnings: Sequence[str]) -> _Status:
    count = len(warnings) + sum(len(scan.warnings) for scan in scans)
    if not scans:
        return _Status("No scan processed", "bad")
    done = all(scan.after is not None for scan in scans)
    partly = any(scan.after is not None for scan in scans)
    label = "Harmonized" if done else "Partly harmonized" if partly else "Preprocessed only"
    if count:
        return _Status(f"{label}, {count} warning{'s' if count > 1 else ''}: please look", "warn")
    return _Status(label, "good" if done else "plain")


def _scan_context(number: int, scan: ScanReport) -> dict[str, Any]:
    after = None
    if scan.after is not None:
        after = data_uri(figures.mosaic_figure(scan.after, scan.mask, scan.affine), "webp")
    histogram = figures.histogram_figure(
        scan.statistics_before["histogram"],
        scan.statistics_after["histogram"] if scan.statistics_after else None,
    )
    return {
        "anchor": f"scan-{number + 1}",
        "scan": scan,
        "before": data_uri(figures.mosaic_figure(scan.before, scan.mask, scan.affine), "webp"),
        "after": after,
        "pictures": _pictures(scan),
        "histogram": data_uri(histogram, "svg"),
        "statistics": [
            (name, scan.statistics_before.get(name), (scan.statistics_after or {}).get(name))
            for name in STATISTICS
        ],
    }


def _largest(change: NDArray[Any], mask: NDArray[Any], affine: NDArray[Any]) -> str:
    size = np.where(np.asarray(mask) != 0, np.abs(change), -1)
    voxel = np.unravel_index(int(size.argmax()), size.shape)
    x, y, z = np.round(np.asarray(affine) @ [*voxel, 1])[:3].astype(int)
    return f"The largest is {size[voxel]:.2f}, at x {x}, y {y}, z {z} mm."


def _pictures(scan: ScanReport) -> list[_Picture]:
    """Draw the figures that the scan has the volumes for."""
    made: list[_Picture] = []
    if scan.after is not None:
        image = figures.difference_figure(scan.before, scan.after, scan.mask, scan.affine)
        caption = (
            "After minus before inside the brain mask, scaled intensity. Tissues that grow brighter or "
            "darker as a whole are what harmonization is for. A spot, a seam, or an edge that is red on one "
            "side and blue on the other is not: the anatomy changed there."
        )
        made.append(_Picture("Difference", caption, data_uri(image, "webp")))
    if scan.change is not None:
        image = figures.change_figure(scan.change, scan.mask, scan.affine, limit=scan.change_limit)
        caption = (
            "What of the difference no local change of contrast explains, averaged over the size of a small "
            "lesion; in full colour where a scan is flagged. It should be pale: a coloured spot is something "
            f"that appeared, vanished or moved. {_largest(scan.change, scan.mask, scan.affine)}"
        )
        made.append(_Picture("Anatomical change", caption, data_uri(image, "webp")))
    if scan.native_image is not None and scan.native_mask is not None and scan.native_affine is not None:
        image = figures.mask_outline_figure(scan.native_image, scan.native_mask, scan.native_affine)
        caption = (
            "Outline of the brain mask on the scan as it was acquired. It should follow the brain's surface."
        )
        made.append(_Picture("Brain mask", caption, data_uri(image, "webp")))
        if scan.native_bias is not None:
            image = figures.bias_figure(scan.native_bias, scan.native_mask, scan.native_affine)
            caption = (
                "Bias field that the scan was divided by, less 1: red where the scan was too bright, blue "
                "where it was too dark. It should be smooth and show no anatomy."
            )
            made.append(_Picture("Bias field", caption, data_uri(image, "webp")))
    references = (
        ("Registration to the template", f"the {scan.space} template", scan.template),
        ("Registration to the T1w", "the same subject's T1w", scan.anchor),
    )
    for title, whose, volume in references:
        if volume is not None:
            image = figures.edges_figure(scan.before, volume, scan.mask, scan.affine)
            caption = (
                f"Outer outline (yellow) and border of white matter (blue) of {whose} on the {scan.sequence} "
                "before harmonization. Ventricles, midline and the brain's surface should agree."
            )
            made.append(_Picture(title, caption, data_uri(image, "webp")))
    return made
