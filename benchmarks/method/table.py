"""The table of a study: harmonization methods beside honest controls, on travelling subjects.

``python benchmarks/method/table.py DERIVATIVES [--spacing MM] [--target SITE] [--test-subjects LABEL ...]
[--variant NAME=FOLDER ...] [--out PREFIX]`` prints Markdown. DERIVATIVES is the output of the participant
level on a study of which some subjects travelled (the test subjects) and others were scanned at the target
site (the controls are fitted on them). With ``--out`` it also writes ``PREFIX_pairs.tsv`` and figures
``PREFIX_*.png``.

Each FOLDER holds one variant's harmonized scans as ``<stem>.npy`` or ``<stem>.nii.gz``, where the stem is
the preprocessed image's file name without ``.nii.gz``: an array on the evaluation grid, in the scaled units
of ``bids_mmh.training.data.scans.load_on_grid`` (the brain in about [-1, 1], background -1). The first
variant is the method that the others are tested against. A variant may leave scans at the target site as they
are and out of its folder.
"""

import argparse
import csv
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import nibabel as nib
import numpy as np
from figures import draw_figures
from numpy.typing import NDArray
from parts import Method, Part, by_scan, choose_target, pair_metrics

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import BadDataError, BidsMmhError, NoInputError, UsageError
from bids_mmh.evaluation.controls.baselines import BACKGROUND
from bids_mmh.evaluation.controls.methods import CONTROLS, RAW, fit_controls
from bids_mmh.evaluation.scans import ScanArrays, travelling_pairs
from bids_mmh.evaluation.segmentation import BuiltInSegmenter
from bids_mmh.evaluation.significance import paired_test
from bids_mmh.evaluation.study import MeasuredScan, summarise
from bids_mmh.evaluation.subject_metrics import SubjectMetrics, Versions, measure_versions
from bids_mmh.preprocess.grid import Grid, model_grid
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.sweep.sweep_scans import read_scan

SEQUENCES = ("T1w", "T2w")
# Heading and number format of each figure of a pair.
PAIR_COLUMNS = {
    "ssim": ("SSIM", ".3f"),
    "psnr": ("PSNR (dB)", ".2f"),
    "pcc": ("PCC", ".3f"),
    "wd": ("WD", ".4f"),
    "dice_gm": ("Dice GM", ".3f"),
    "dice_wm": ("Dice WM", ".3f"),
    "volume_gm": ("volume GM", ".3f"),
    "volume_wm": ("volume WM", ".3f"),
    "anatomy": ("anatomy", ".3f"),
    "spread": ("brain SD", ".3f"),
}
STUDY_COLUMNS = (
    "inter-site WD",
    "inter-site features (of raw)",
    "inter / intra features",
    "site accuracy",
    "without site effect",
    "p",
)
NOTE = """\
Mean ± SD over pairs: a test subject's scan at another site, as each method leaves it, against the same
subject's preprocessed scan at the target site, which no method touches. SSIM, PSNR, PCC and WD look at
intensities clipped to [-1, 1] inside both brain masks. Dice, volume preservation (1 - relative difference of
volumes) and anatomy (cosine of gradients) compare the method's scan with its own raw version; the tissues
come from a Gaussian mixture with priors. Low contrast flatters PSNR, WD and the feature distances: see brain
SD. * p < .05 against the first variant, Wilcoxon signed-rank test; pairs of one subject share a target scan,
so p is somewhat too small. The study's figures are of all test subjects' scans: features of a frozen random
3D ResNet-18; a site classifier (logistic regression on them) trained on each method's own outputs and
cross-validated by subject, beside the 95th percentile of its accuracy with permuted sites. Controls are
fitted on training subjects at the target site; histogram matching's reference is the first of them."""


def parse_variant(text: str) -> tuple[str, Path]:
    """Split ``NAME=FOLDER``."""
    name, _, folder = text.partition("=")
    if not name or not Path(folder).is_dir() or not folder:
        raise UsageError(f"--variant {text} is not NAME=FOLDER with a folder that exists.")
    if name in CONTROLS:
        raise UsageError(f"--variant {text} has the name of a control: choose another one.")
    return name, Path(folder)


def read_variant(folder: Path, scan: ScanArrays) -> NDArray[np.float32] | None:
    """Read a variant's version of a scan, background -1; None where the folder has none."""
    for file in (folder / f"{scan.name}.npy", folder / f"{scan.name}.nii.gz"):
        if not file.is_file():
            continue
        if file.suffix == ".npy":
            values = np.load(file).astype(np.float32)
        else:
            values = np.asarray(nib.Nifti1Image.from_filename(file).dataobj, dtype=np.float32)
        if values.shape != scan.mask.shape:
            raise BadDataError(
                f"{file} has shape {values.shape}, but the evaluation grid has {scan.mask.shape}: "
                "write it on that grid or choose another --spacing."
            )
        if not np.isfinite(values[scan.mask]).all():
            raise BadDataError(f"{file} has values inside the brain that are not finite: harmonize it again.")
        return np.where(scan.mask, values, np.float32(BACKGROUND))
    return None


def variant_outputs(folder: Path, scans: Sequence[ScanArrays], target: str) -> tuple[dict[str, NDArray], int]:
    """A variant's outputs, and for how many scans at the target site the preprocessed one stands in."""
    outputs, stand_ins = {}, 0
    for scan in scans:
        volume = read_variant(folder, scan)
        if volume is None and scan.site != target:
            raise NoInputError(f"{folder} has no {scan.name}.npy or .nii.gz: harmonize all test scans.")
        outputs[scan.name] = scan.preproc if volume is None else volume
        stand_ins += volume is None
    return outputs, stand_ins


def choose_test_subjects(found: Sequence[DerivedScan], labels: Sequence[str] | None) -> set[str]:
    """The subjects asked for, or all who were scanned at several sites."""
    known = {scan.subject for scan in found}
    if labels:
        wanted = {f"sub-{label.removeprefix('sub-')}" for label in labels}
        if wanted - known:
            raise NoInputError(f"There are no scans of {', '.join(sorted(wanted - known))}.")
        return wanted
    visits = {(scan.subject, scan.site) for scan in found}
    return {subject for subject in known if sum(visit[0] == subject for visit in visits) > 1}


def evaluate(
    found: Sequence[DerivedScan],
    subjects: set[str],
    target: str,
    grid: Grid,
    variants: Sequence[tuple[str, Path]],
) -> Part:
    """Apply and measure every method on the scans of one sequence."""
    scans = [read_scan(scan, grid) for scan in found if scan.subject in subjects]
    training = [scan for scan in found if scan.subject not in subjects and scan.site == target]
    fit = fit_controls([read_scan(scan, grid) for scan in training], target)
    outputs: dict[str, Versions] = {
        name: {scan.name: apply(scan, fit) for scan in scans} for name, apply in CONTROLS.items()
    }
    stand_ins = {}
    for name, folder in variants:
        outputs[name], stand_ins[name] = variant_outputs(folder, scans, target)
    pairs = travelling_pairs(scans, target)
    measured = measure(scans, pairs, outputs)
    records = [
        MeasuredScan(scan.name, scan.subject, scan.site, None, measured[scan.subject].scans[scan.name])
        for scan in scans
    ]
    summary = summarise(records, list(measured.values()), tuple(outputs))
    methods = {}
    for name, volumes in outputs.items():
        features = np.array([record.methods[name].features for record in records])
        by_pair = [pair_metrics(one, pair, name) for one in measured.values() for pair in one.pairs]
        methods[name] = Method(volumes, features, by_pair, summary.methods[name])
    main = variants[0][0] if variants else None
    return Part(found[0].sequence, target, scans, pairs, methods, main, stand_ins, summary.reasons)


def measure(
    scans: Sequence[ScanArrays],
    pairs: Sequence[tuple[ScanArrays, ScanArrays]],
    outputs: Mapping[str, Versions],
) -> dict[str, SubjectMetrics]:
    """Metrics of all methods, subject by subject."""
    measured = {}
    for subject in dict.fromkeys(scan.subject for scan in scans):
        own = [scan for scan in scans if scan.subject == subject]
        named = [(scan.name, other.name) for scan, other in pairs if scan.subject == subject]
        measured[subject] = measure_versions(
            own, named, by_scan(outputs, own), BuiltInSegmenter(), raw_target=True
        )
    return measured


def pair_table(part: Part) -> str:
    """Markdown: one row a method, mean ± SD over the pairs."""
    return _markdown(
        [heading for heading, _ in PAIR_COLUMNS.values()],
        {
            name: [_cell(part, method, column, spec) for column, (_, spec) in PAIR_COLUMNS.items()]
            for name, method in part.methods.items()
        },
    )


def _cell(part: Part, method: Method, column: str, spec: str) -> str:
    values = [pair[column] for pair in method.pairs]
    star = ""
    if part.main is not None and method is not part.methods[part.main]:
        p, _ = paired_test(values, [pair[column] for pair in part.methods[part.main].pairs])
        star = "*" if p is not None and p < 0.05 else ""
    spread = np.std(values, ddof=1) if len(values) > 1 and np.isfinite(values).all() else float("nan")
    return f"{np.mean(values):{spec}} ± {spread:{spec}}{star}"


def study_table(part: Part) -> str:
    """Markdown: one row a method, figures of all test scans together."""
    raw = part.methods[RAW].study.distances.inter_site
    rows = {}
    for name, method in part.methods.items():
        study, probe = method.study, method.study.probe
        inter, intra = study.distances.inter_site, study.distances.intra_site
        rows[name] = [
            f"{study.inter_site_wd:.4f}",
            f"{inter:.3f} ({inter / raw:.2f})",
            f"{inter / intra:.2f}" if intra > 0 else "n/a",
            *(
                (f"{probe.balanced_accuracy:.2f}", f"{probe.null_high:.2f}", f"{probe.p:.3f}")
                if probe
                else ("n/a",) * 3
            ),
        ]
    return _markdown(STUDY_COLUMNS, rows)


def _markdown(headings: Sequence[str], rows: dict[str, list[str]]) -> str:
    lines = [f"| Method | {' | '.join(headings)} |", "|---|" + "---:|" * len(headings)]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def describe(part: Part) -> str:
    """Both tables of a sequence with what they are made of."""
    subjects, sites = {scan.subject for scan in part.scans}, {scan.site for scan in part.scans}
    lines = [
        f"**{part.sequence}**, target site {part.target}: {len(part.pairs)} pairs; "
        f"{len(part.scans)} scans of {len(subjects)} test subjects at {len(sites)} sites "
        f"(chance {1 / len(sites):.2f}).",
        pair_table(part),
        study_table(part),
    ]
    lines += [reason for reason in part.reasons if reason.startswith("Site classification")]
    lines += [
        f"{name} left {count} scans at the target site as they were."
        for name, count in part.stand_ins.items()
        if count
    ]
    return "\n\n".join(lines)


def write_pairs(file: Path, parts: Sequence[Part]) -> None:
    """Write one row for each sequence, method and pair."""
    columns = list(PAIR_COLUMNS)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["sequence", "method", "participant_id", "site", "target_site", *columns])
        for part in parts:
            for name, method in part.methods.items():
                for (scan, target), pair in zip(part.pairs, method.pairs, strict=True):
                    values = (f"{value:.6g}" for value in pair.values())
                    writer.writerow([part.sequence, name, scan.subject, scan.site, target.site, *values])


def run(options: argparse.Namespace, log: Callable[[str], None] = print) -> Iterator[Part]:
    """Evaluate the sequences one after the other and print their tables."""
    variants = [parse_variant(text) for text in options.variant]
    grid = model_grid(options.spacing)
    found = find_scans([options.derivatives], SEQUENCES)
    subjects = choose_test_subjects(found, options.test_subjects)
    for sequence in SEQUENCES:
        own = [scan for scan in found if scan.sequence == sequence]
        if own:
            target = choose_target([scan for scan in own if scan.subject in subjects], options.target)
            part = evaluate(own, subjects, target, grid, variants)
            log(describe(part) + "\n")
            yield part


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, then when and where they were made; write the pairs and the figures."""
    parser = argparse.ArgumentParser(description="Harmonization methods beside controls.")
    parser.add_argument("derivatives", type=Path, help="output of the participant level")
    parser.add_argument("--spacing", type=float, default=2.0, metavar="MM", help="grid (default: 2)")
    parser.add_argument("--target", metavar="SITE", help="default: the site most test subjects visited")
    parser.add_argument(
        "--test-subjects", nargs="+", metavar="LABEL", help="default: all scanned at several sites"
    )
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, metavar="PREFIX", help="for the TSV file and the figures")
    options = parser.parse_args(argv)
    start = time.perf_counter()
    try:
        parts = list(run(options))
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_pairs(options.out.with_name(f"{options.out.name}_pairs.tsv"), parts)
            draw_figures(parts, options.out)
    except BidsMmhError as error:
        print(error, file=sys.stderr)
        return int(error.code)
    machine, seconds = platform.processor() or platform.machine(), time.perf_counter() - start
    made = f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {options.spacing:g} mm grid, {seconds:.0f} s in all"
    print(f"{NOTE}\n\n{made}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
