"""How accurate, repeatable and robust the preprocessing is, as tables in Markdown.

``python benchmarks/preprocessing/preprocessing.py accuracy --seeds 11 12 13`` ordinary phantom sessions (T1w
and T2w at 1 mm), each of a seed, a person and a scanner of its own, against what is known of them, and
``--copies`` of the first of them.
``python benchmarks/preprocessing/preprocessing.py difficulties --seed 21 [--only NAME ...]`` one phantom for
every known difficulty.
``python benchmarks/preprocessing/preprocessing.py study BIDS_DIR [--other-masks DIR]`` real scans: nothing is
known of them, but copies of a scan have to end at the same place, and two sessions of a person too.
``--other-masks`` holds brain masks that another tool made, named like the scans.
``python benchmarks/preprocessing/preprocessing.py travel LABELS_DIR --pairs 24`` travelling subjects: whole
heads made of label maps (``*_dseg.nii.gz``) at scanners of six kinds, with the true transforms: does every
scan land where it should, and at the same place at every scanner?
``python benchmarks/preprocessing/preprocessing.py pairs LABELS_DIR --pairs 100`` random pairs of a T1w and a
T2w of such heads, each of scanners of its own: is the way between them found?

``--work`` keeps everything (what is there is not made again), ``--out`` writes the table to a file too, and
``--pictures`` draws the outlines of the true brain (green) and of the mask (red).
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import SimpleITK
from copies import moved, resampled
from measures import (
    dice,
    distances,
    field_residual,
    intensity_difference,
    landmarks,
    lps,
    native_round_trip,
    on_voxels,
    shape_residual,
    surface_distance,
    template_to_scan,
    white_matter_variation,
)
from outcome import Outcome, preprocess
from pairs import pair_rows, pair_summary
from phantoms import Case, Truth, difficulties, ordinary, write_case
from pictures import draw
from travel import travel_rows, travel_summary

from bids_mmh.errors import BidsMmhError
from bids_mmh.preprocess.images import read_nifti, to_array
from bids_mmh.preprocess.transforms import read_transform, to_matrix

Row = dict[str, float | str]
STEP = "CPU s, "  # columns of a table of their own


def measure(outcome: Outcome, truth: Truth) -> Row:
    """Compare what was made of a phantom scan with the truth."""
    found = read_nifti(outcome.folder / "native_mask.nii.gz", np.uint8)
    brain = SimpleITK.Cast(on_voxels(truth.brain, outcome.raw), SimpleITK.sitkUInt8)
    linear = template_to_scan(truth.from_template)
    off = distances(outcome.from_template, linear, landmarks())
    before, after, floor = white_matter_variation(outcome, truth.tissues, truth.field)
    field, left = field_residual(outcome, truth.brain, truth.field)
    back_mm, back_percent = native_round_trip(outcome)
    return {
        "mask Dice": dice(to_array(found), to_array(brain)),
        "surface 95 % mm": surface_distance(found, brain),
        "affine mean mm": float(off.mean()),
        "affine max mm": float(off.max()),
        "anatomy mm": shape_residual(outcome.from_template, linear, truth.shape),
        "anatomy mm, true affine": shape_residual(linear, linear, truth.shape),
        "WM CV raw %": before,
        "WM CV corrected %": after,
        "WM CV floor %": floor,
        "field %": field,
        "field left %": left,
        "way back mm": back_mm,
        "way back %": back_percent,
        "engine": str(outcome.qc.get("mask_engine", "")),
        "CPU s": sum(outcome.qc["seconds"].values()),
        "warnings": " ".join(outcome.qc["warnings"]),
    } | {f"{STEP}{step}": seconds for step, seconds in outcome.qc["seconds"].items()}


def t2w_error(t2w: Outcome, truth: Mapping[str, Truth]) -> float:
    """Mean distance in mm at the landmarks between the true and the found way from T1w to T2w."""
    from_t1w, from_t2w = (template_to_scan(truth[suffix].from_template) for suffix in ("T1w", "T2w"))
    found = to_matrix(read_transform(t2w.folder.with_name("anchor_t2w") / "to_anchor.txt"))
    return float(distances(found, from_t2w @ np.linalg.inv(from_t1w), from_t1w @ landmarks()).mean())


def compare_copy(original: Outcome, copy: Outcome, motion: np.ndarray) -> Row:
    """Say how far a copy of a scan ended from the scan itself; ``motion`` is between their points (RAS)."""
    off = distances(copy.from_template, lps(motion) @ original.from_template, landmarks())
    return {
        "mm": float(off.mean()),
        "max mm": float(off.max()),
        "intensity %": intensity_difference(original, copy),
        "mask Dice": dice(original.image("mni_mask"), copy.image("mni_mask")),
    }


COPIES = {"moved": moved, "resampled": resampled}


def repeat(name: str, scans: Mapping[str, Path], made: Mapping[str, Outcome], work: Path) -> Iterable[Row]:
    """Preprocess copies of a session and compare each with the session itself."""
    for kind, copy in COPIES.items():
        folder = work / "copies" / f"{name}_{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        files = {suffix: folder / path.name for suffix, path in scans.items()}
        motions = {s: copy(scans[s], files[s], number=number) for number, s in enumerate(scans)}
        outcomes = preprocess(f"{name}_{kind}".replace("-", "_"), files, work)
        for suffix, outcome in outcomes.items():
            row = compare_copy(made[suffix], outcome, motions[suffix])
            yield {"session": name, "scan": suffix, "copy": kind} | row


def phantom_rows(
    cases: Sequence[Case], work: Path, pictures: Path | None, n_copied: int = 0
) -> tuple[list[Row], list[Row]]:
    """Measure phantom sessions, and copies of the first ``n_copied`` of them."""
    rows: list[Row] = []
    copies: list[Row] = []
    for number, case in enumerate(cases):
        scans, truth = write_case(case, work / "phantoms")
        try:
            made = preprocess(case.name.replace("-", "_").replace(".", "_"), scans, work)
        except BidsMmhError as error:
            rows.append({"session": case.name, "scan": "/".join(scans), "warnings": f"Refused: {error}"})
            tell(rows[-1])
            continue
        for suffix, outcome in made.items():
            row: Row = {"session": case.name, "scan": suffix} | measure(outcome, truth[suffix])
            if suffix == "T2w":
                row["T2w to T1w mm"] = t2w_error(outcome, truth)
            rows.append(row)
            tell(row)
            if pictures is not None:
                draw(outcome, pictures / f"{case.name}_{suffix}.png", truth[suffix].brain)
        if number < n_copied:
            copies += repeat(case.name, scans, made, work)
            tell(copies[-1])
    return rows, copies


def study_rows(options: argparse.Namespace) -> list[Row]:
    """Measure every session of a real study with itself."""
    bids_dir, work, pictures = options.bids_dir.resolve(), options.work, options.pictures
    rows: list[Row] = []
    by_subject: dict[str, list[Mapping[str, Outcome]]] = {}
    for folder in sorted(bids_dir.glob("sub-*/**/anat")):
        scans = {s: p for s in ("T1w", "T2w") for p in sorted(folder.glob(f"*_{s}.nii.gz"))[:1]}
        name = "_".join(folder.relative_to(bids_dir).parts[:-1])
        if options.only and name not in options.only:
            continue
        try:
            made = preprocess(name.replace("-", "_"), scans, work)
            by_subject.setdefault(name.split("_")[0], []).append(made)
            rows += _session_rows(name, scans, made, options)
        except BidsMmhError as error:
            rows.append({"session": name, "warnings": f"Refused: {error}"})
            continue
        finally:
            tell(rows[-1])
        for suffix, outcome in made.items() if pictures else ():
            draw(outcome, pictures / f"{name}_{suffix}.png")
    return rows + [
        {"session": f"{subject}, both sessions"} | test_retest(*sessions)
        for subject, sessions in by_subject.items()
        if len(sessions) == 2
    ]


def _session_rows(
    name: str, scans: Mapping[str, Path], made: Mapping[str, Outcome], options: argparse.Namespace
) -> list[Row]:
    rows = {s: {"session": name, "scan": s} | _alone(made[s], options.other_masks) for s in made}
    wanted = options.copied is None or name in options.copied
    for copy in repeat(name, scans, made, options.work) if wanted else ():
        for key in ("mm", "intensity %", "mask Dice"):
            rows[str(copy["scan"])][f"{copy['copy']}: {key}"] = copy[key]
    return list(rows.values())


def _alone(outcome: Outcome, others: Path | None) -> Row:
    qc = outcome.qc
    back_mm, back_percent = native_round_trip(outcome)
    row: Row = {
        "way back mm": back_mm,
        "way back %": back_percent,
        "engine": str(qc["mask_engine"]),
        "mask ml": qc["mask_volume_ml"],
        "template Dice": qc["template_dice"],
        "template corr.": qc["template_correlation"],
        "CPU s": sum(qc["seconds"].values()),
        "warnings": " ".join(qc["warnings"]),
    }
    other = others / outcome.raw.name if others else None
    if other is not None and other.is_file():
        row["other tool: Dice"] = dice(outcome.image("native_mask"), to_array(read_nifti(other, np.uint8)))
    return row


def test_retest(first: Mapping[str, Outcome], second: Mapping[str, Outcome]) -> Row:
    """Compare two sessions of a person: a rigid alignment of the scans to each other is the referee."""
    from bids_mmh.preprocess.steps.registration.session import rigid
    from bids_mmh.preprocess.steps.registration.settings import RegistrationSettings

    a, b = first["T1w"], second["T1w"]
    images = [read_nifti(outcome.folder / "native_preproc.nii.gz") for outcome in (a, b)]
    mask = read_nifti(a.folder / "native_mask.nii.gz", np.uint8)
    between, _ = rigid(images[0], images[1], mask, RegistrationSettings(work_mm=1.0))
    off = distances(b.from_template, to_matrix(between) @ a.from_template, landmarks())
    return {
        "scan": "T1w",
        "mask ml": b.qc["mask_volume_ml"] - a.qc["mask_volume_ml"],
        "test-retest mm": float(off.mean()),
        "test-retest mask Dice": dice(a.image("mni_mask"), b.image("mni_mask")),
    }


def tell(row: Row) -> None:
    """Show that something is done."""
    sys.stderr.write(json.dumps(row) + "\n")


def markdown(rows: Sequence[Row]) -> str:
    """Write rows as a table; columns appear in the order in which rows bring them."""
    columns = list(dict.fromkeys(key for row in rows for key in row if not key.startswith(STEP)))
    columns.sort(key=lambda key: key in ("engine", "CPU s", "warnings"))

    def cell(row: Row, column: str) -> str:
        value = row.get(column, "")
        if isinstance(value, str):
            return value
        return f"{value:.3f}" if "Dice" in column or "corr" in column or "SSIM" in column else f"{value:.2f}"

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(cell(row, c) for c in columns) + " |" for row in rows])


def steps(rows: Sequence[Row]) -> list[Row]:
    """Mean CPU seconds of every step, by sequence."""
    out: list[Row] = []
    for suffix in dict.fromkeys(row["scan"] for row in rows):
        own = [row for row in rows if row["scan"] == suffix]
        names = dict.fromkeys(key for row in own for key in row if key.startswith(STEP))
        means = {key: float(np.mean([float(row[key]) for row in own if key in row])) for key in names}
        out.append({"scan": suffix} | {key.removeprefix(STEP): mean for key, mean in means.items()})
    return out


def summary(rows: Sequence[Row]) -> list[Row]:
    """Median and worst of every figure, by sequence."""
    worst_is_low = ("Dice",)
    out: list[Row] = []
    for suffix in dict.fromkeys(row["scan"] for row in rows):
        own = [row for row in rows if row["scan"] == suffix]
        for label, choose in (("median", np.median), ("worst", None)):
            line: Row = {"session": f"{label} of {len(own)}", "scan": suffix}
            for key, value in own[0].items():
                if isinstance(value, str) or key.startswith(STEP):
                    continue
                values = [float(row[key]) for row in own if key in row]
                pick = choose or (min if any(word in key for word in worst_is_low) else max)
                line[key] = float(pick(values))
            out.append(line)
    return out


def main(argv: Sequence[str]) -> int:
    """Measure, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    accuracy = kinds.add_parser("accuracy")
    accuracy.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    accuracy.add_argument("--copies", type=int, default=2, help="how many sessions are copied")
    hard = kinds.add_parser("difficulties")
    hard.add_argument("--seed", type=int, default=201)
    hard.add_argument("--only", nargs="+", default=[])
    study = kinds.add_parser("study")
    study.add_argument("bids_dir", type=Path)
    study.add_argument("--other-masks", type=Path)
    study.add_argument("--only", nargs="+", default=[], help="sessions, such as sub-01_ses-a")
    study.add_argument("--copied", nargs="*", help="sessions of which copies are made (default: all)")
    travel = kinds.add_parser("travel")
    travel.add_argument("labels", type=Path)
    travel.add_argument("--pairs", type=int, default=24, help="heads times scanners")
    travel.add_argument("--scanners", type=int, default=6)
    travel.add_argument("--seed", type=int, default=7)
    pairs = kinds.add_parser("pairs")
    pairs.add_argument("labels", type=Path)
    pairs.add_argument("--pairs", type=int, default=100)
    pairs.add_argument("--seed", type=int, default=9)
    for kind in (accuracy, hard, study, travel, pairs):
        kind.add_argument("--work", type=Path, default=Path("work-preprocessing"))
        kind.add_argument("--out", type=Path)
        kind.add_argument("--pictures", type=Path)
    options = parser.parse_args(argv)
    options.work = options.work.resolve()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    start = time.perf_counter()
    text = _tables(options)
    machine = f"{platform.machine()}, {time.perf_counter() - start:.0f} s"
    text = f"{datetime.now(UTC):%Y-%m-%d}, {machine}: `{' '.join(['preprocessing.py', *argv])}`\n\n{text}\n"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0


def _tables(options: argparse.Namespace) -> str:
    if options.kind == "study":
        return markdown(study_rows(options))
    if options.kind == "travel":
        return _travel_tables(options)
    if options.kind == "pairs":
        labels = _labels(options.labels)
        rows = list(pair_rows(labels, options.pairs, options.seed, options.work))
        return f"{markdown(pair_summary(rows))}\n\n{markdown(rows)}"
    if options.kind == "accuracy":
        cases = [ordinary(seed, number) for number, seed in enumerate(options.seeds)]
        rows, copies = phantom_rows(cases, options.work, options.pictures, options.copies)
        return "\n\n".join([markdown(rows), markdown(summary(rows)), markdown(steps(rows)), markdown(copies)])
    cases = [case for case in difficulties(options.seed) if not options.only or case.name in options.only]
    rows, _ = phantom_rows(cases, options.work, options.pictures)
    return markdown(rows)


def _travel_tables(options: argparse.Namespace) -> str:
    labels = _labels(options.labels)
    heads = -(-options.pairs // options.scanners)
    if heads > len(labels):
        raise SystemExit(
            f"{options.labels} holds {len(labels)} label maps: give more --scanners for that many."
        )
    rows: list[Row] = []
    for row in travel_rows(labels[:heads], options.scanners, options.seed, options.work):
        tell(row)
        rows.append(row)
    return f"{len(rows)} pairs\n\n{markdown(travel_summary(rows))}\n\n{markdown(rows)}"


def _labels(folder: Path) -> list[Path]:
    labels = sorted(folder.glob("*_dseg.nii.gz"))
    if not labels:
        raise SystemExit(f"{folder} has no *_dseg.nii.gz: see benchmarks/data/anatomies.py.")
    return labels


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
