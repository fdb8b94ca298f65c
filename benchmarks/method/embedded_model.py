"""Figures for a model card: MMH beside honest controls, on travelling subjects.

``python benchmarks/method/embedded_model.py OUT_DIR [--target SITE]``, where OUT_DIR is the output of
``bids-mmh BIDS_DIR OUT_DIR participant`` on a dataset whose subjects were scanned at several sites.
Every control is fitted on other subjects than the one it normalises.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from parts import choose_target

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import BadDataError, BidsMmhError, NoInputError
from bids_mmh.evaluation.controls import baselines
from bids_mmh.evaluation.controls.methods import CONTROLS, Fit, fit_controls
from bids_mmh.evaluation.metrics.anatomy import anatomy_preservation
from bids_mmh.evaluation.metrics.similarity import intensity_histogram, similarity
from bids_mmh.evaluation.metrics.site_distance import site_distances
from bids_mmh.evaluation.scans import ScanArrays, travelling_pairs
from bids_mmh.training.data.scans import find_scans

SEQUENCES = ("T1w", "T2w")
COLUMNS = ("SSIM", "PSNR (dB)", "PCC", "WD", "inter-site WD", "AP", "SD")
NOTE = (
    "Raw is the preprocessed scan, scaled linearly (1st and 99th percentile to ±0.9). Measured inside both "
    "brain masks on intensities clipped to [-1, 1]: SSIM with 3-D Gaussian windows (sigma 1.5 voxels) of "
    "brain voxels only, PSNR for a data range of 2, WD of 100-bin histograms. AP is anatomy preservation "
    "against the own preprocessed scan; SD is the mean standard deviation of the brain, for low contrast "
    "flatters PSNR and WD. The WD of histogram matching is about 0 by construction. Controls are fitted on "
    "other subjects only; with few subjects their references differ, which raises their inter-site WD. "
    "The unified domain of MMH has no target: as in all rows, the processed source is compared with the same "
    "subject's processed scan at the target site."
)


METHODS: dict[str, Callable[[Any, Fit], NDArray[np.float32]]] = {
    **CONTROLS,
    "MMH": lambda scan, _: scan.harmonized,
}


def read_scan(found: DerivedScan) -> ScanArrays:
    """Read a preprocessed scan, its mask and its harmonized version."""
    harmonized = found.image.with_name(found.image.name.replace("_desc-preproc_", "_desc-harmonized_"))
    sidecar = harmonized.with_suffix("").with_suffix(".json")
    if not (harmonized.is_file() and sidecar.is_file()):
        raise NoInputError(
            f"{harmonized} or its sidecar is missing: run `participant` without --preproc-only."
        )
    image = nib.Nifti1Image.from_filename(found.image)
    mask = np.asarray(nib.Nifti1Image.from_filename(found.mask).dataobj) > 0
    try:
        scaling = json.loads(sidecar.read_text(encoding="utf-8"))["IntensityScaling"]
        after = _scaled(
            nib.Nifti1Image.from_filename(harmonized), mask, scaling["Slope"], scaling["Intercept"]
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadDataError(
            f"{sidecar} is not a sidecar of this tool ({error!r}): harmonize again."
        ) from error
    return ScanArrays(
        name=found.image.name.removesuffix(".nii.gz"),
        subject=found.subject,
        site=found.site,
        sequence=found.sequence,
        preproc=_scaled(image, mask, found.slope, found.intercept),
        harmonized=after,
        mask=mask,
        spacing=tuple(float(side) for side in image.header.get_zooms()[:3]),
    )


def _scaled(image: Any, mask: NDArray[np.bool_], slope: float, intercept: float) -> NDArray[np.float32]:  # noqa: ANN401
    values = np.asarray(image.dataobj, dtype=np.float32)
    if values.shape != mask.shape:
        raise BadDataError(f"{image.get_filename()} and its mask differ in shape: preprocess the scan again.")
    return np.where(
        mask, values * np.float32(slope) + np.float32(intercept), np.float32(baselines.BACKGROUND)
    )


def measure(method: str, pairs: Sequence[tuple[ScanArrays, ScanArrays]], fits: dict[str, Fit]) -> list[float]:
    """The figures of one method, in the order of ``COLUMNS``: means over the pairs or over their scans."""
    scans = list({id(scan): scan for pair in pairs for scan in pair}.values())
    done = {id(scan): METHODS[method](scan, fits[scan.subject]) for scan in scans}
    alike = [similarity(done[id(a)], done[id(b)], a.mask & b.mask) for a, b in pairs]
    histograms = [intensity_histogram(done[id(scan)][scan.mask]) for scan in scans]
    return [
        *(float(np.mean([getattr(pair, name) for pair in alike])) for name in ("ssim", "psnr", "pcc", "wd")),
        site_distances(histograms, [scan.site for scan in scans]).inter_site,
        float(np.mean([anatomy_preservation(scan.preproc, done[id(scan)], scan.mask) for scan in scans])),
        float(np.mean([done[id(scan)][scan.mask].std() for scan in scans])),
    ]


def table(found: Sequence[DerivedScan], sequence: str, wanted: str | None) -> str:
    """Measure all methods on one sequence and write the Markdown table."""
    target = choose_target(found, wanted)
    scans = [read_scan(scan) for scan in found]
    pairs = travelling_pairs(scans, target)
    subjects = sorted({scan.subject for scan, _ in pairs})
    if len({scan.mask.shape for scan in scans}) > 1:
        raise BadDataError(
            f"The {sequence} scans lie on different grids: preprocess them with one resolution."
        )
    fits = {
        subject: fit_controls([scan for scan in scans if scan.subject != subject], target)
        for subject in subjects
    }
    lines = [
        f"**{sequence}**, target site {target}: {len(pairs)} pairs of {len(subjects)} travelling subjects.",
        "",
        f"| Method | {' | '.join(COLUMNS)} | n pairs |",
        "|---|" + "---:|" * (len(COLUMNS) + 1),
    ]
    for method in METHODS:
        ssim, psnr, pcc, wd, inter, preserved, spread = measure(method, pairs, fits)
        figures = (
            f"{ssim:.3f} | {psnr:.2f} | {pcc:.3f} | {wd:.4f} | {inter:.4f} | {preserved:.3f} | {spread:.3f}"
        )
        lines.append(f"| {method} | {figures} | {len(pairs)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one table per sequence, then when and where they were made."""
    parser = argparse.ArgumentParser(description="Figures of the embedded model beside controls.")
    parser.add_argument("out_dir", type=Path, help="output of the participant level on travelling subjects")
    parser.add_argument("--target", metavar="SITE", help="default: the site most travelling subjects visited")
    options = parser.parse_args(argv)
    start = time.perf_counter()
    try:
        found = find_scans([options.out_dir], SEQUENCES)
        for sequence in SEQUENCES:
            of_sequence = [scan for scan in found if scan.sequence == sequence]
            if of_sequence:
                print(table(of_sequence, sequence, options.target), end="\n\n")
    except BidsMmhError as error:
        print(error, file=sys.stderr)
        return int(error.code)
    machine, seconds = platform.processor() or platform.machine(), time.perf_counter() - start
    print(f"{NOTE}\n\n{datetime.now(UTC):%Y-%m-%d}, {machine}, {seconds:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
