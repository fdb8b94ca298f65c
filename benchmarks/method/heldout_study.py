"""Harmonize held-out heads to one scanner and set the result beside raw, all controls and the ceilings.

``python benchmarks/method/heldout_study.py ANATOMIES [--model FOLDER] [--sequences T1w T2w] [--cache DIR]
[--out TABLE.md]``

Three heads that no model was trained on, at six scanners of another physics than the training's
(:mod:`heldout_heads`), true alignment and masks: five scanners to the sixth, whose style is known from the
*other* heads only. PSNR is for intensities in [0, 1]. Dice is that of the tissues found in a scan before and
after, true Dice that with the tissues that were simulated. The site classifier is trained on each method's
own outputs and tested on the head that it has not seen (chance .17). Last stands how near a second session of
the target scanner itself comes to the first: noise and a part of the field are new in every session, and no
method can know those of the answer.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from heldout_heads import HEADS, SCANNERS, TARGET, HeldOutScan, scan
from numpy.typing import NDArray

from bids_mmh.evaluation.controls.landmarks import match_tissues
from bids_mmh.evaluation.controls.methods import CONTROLS, RAW, Fit, fit_controls
from bids_mmh.evaluation.metrics.overlap import overlap
from bids_mmh.evaluation.metrics.similarity import similarity
from bids_mmh.evaluation.probes.features import random_features
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.evaluation.tissues import segment_tissues
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.model_files import embedded_folder
from bids_mmh.method.style.statistics import StyleStatistics, style_statistics
from bids_mmh.method.target_style import gather_styles
from bids_mmh.preprocess.grid import model_grid

GRID = model_grid(1.0)
CURVE = "Best curve of intensity (oracle)"
REGIONAL = "Regional landmarks"
MMH = "MMH"
WITHOUT_NETWORK = "MMH without network"
SECOND = "Second session at the target"
ABLATIONS: Mapping[str, Mapping[str, float | str]] = {
    WITHOUT_NETWORK: {"strength": 0.0},
    "MMH without regional statistics": {"regional_share": 0.0},
    "MMH with moments instead of tissues": {"intensity_map": "moments"},
    "MMH with half of the network's change": {"strength": 0.5},
    "MMH without noise filter": {"denoise": 0.0},
}
Float = NDArray[np.float32]
Row = dict[str, float]


def main(argv: Sequence[str]) -> int:
    """Measure and print one table a sequence; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("--model", type=Path, default=embedded_folder())
    parser.add_argument("--sequences", nargs="+", default=["T1w", "T2w"])
    parser.add_argument("--cache", type=Path, help="keep the simulated scans here")
    parser.add_argument("--out", type=Path, help="write the tables here too")
    parser.add_argument(
        "--heads",
        nargs="+",
        choices=HEADS,
        default=HEADS,
        help="harmonize these alone, without the classifier",
    )
    parser.add_argument("--quick", action="store_true", help="few methods; no Dice, no classifier")
    options = parser.parse_args(argv)
    model = Harmonizer.from_pretrained(options.model)
    text = ""
    for sequence in options.sequences:
        made = [
            cached(options.cache, options.anatomies, head, name, sequence)
            for head in HEADS
            for name in SCANNERS
        ]
        truth = {one.head: one.tissue for one in made}
        scans = [as_scan(one) for one in made]
        means = measure(model, scans, truth, options.heads, quick=options.quick)
        second = [
            as_scan(cached(options.cache, options.anatomies, head, TARGET, sequence, session=1))
            for head in options.heads
        ]
        text += table(sequence, means | ceilings(to_target(model, scans), second, scans))
        sys.stdout.write(text)
        sys.stdout.flush()
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0


def cached(
    folder: Path | None, anatomies: Path, head: str, name: str, sequence: str, *, session: int = 0
) -> HeldOutScan:
    """A simulated scan, from the cache where there is one."""
    if folder is None:
        return scan(anatomies, head, name, sequence, session)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{head}_{name}_{sequence}{f'_{session}' if session else ''}.npz"
    if not file.exists():
        made = scan(anatomies, head, name, sequence, session)
        np.savez(file, volume=made.volume.astype(np.float16), mask=made.mask, tissue=made.tissue)
    with np.load(file) as stored:
        volume = stored["volume"].astype(np.float32)
        return HeldOutScan(head, name, sequence, volume, stored["mask"], stored["tissue"])


def as_scan(one: HeldOutScan) -> ScanArrays:
    """The scan as the evaluation sees it."""
    name = f"{one.head}_{one.scanner}_{one.sequence}"
    return ScanArrays(name, one.head, one.scanner, one.sequence, one.volume, one.mask, (1.0, 1.0, 1.0))


def measure(
    model: Harmonizer,
    scans: Sequence[ScanArrays],
    truth: Mapping[str, NDArray[np.uint8]],
    heads: Sequence[str] = HEADS,
    *,
    quick: bool,
) -> dict[str, Row]:
    """Figures of every method, means over the pairs of a source and the target.

    Args:
        model: to be led to the target scanner.
        scans: every head at every scanner.
        truth: head to true labels.
        heads: whose scans are harmonized.
        quick: few methods, likeness alone.
    """
    rows: dict[str, list[Row]] = {}
    features: dict[str, list[NDArray[np.float32]]] = {}
    variants = {MMH: to_target(model, scans)}
    ablations = {WITHOUT_NETWORK: ABLATIONS[WITHOUT_NETWORK]} if quick else ABLATIONS
    variants |= {name: changed(variants[MMH], changes) for name, changes in ablations.items()}
    for head in heads:
        own = [one for one in scans if one.subject == head]
        answer = next(one for one in own if one.site == TARGET)
        fit = fit_controls([one for one in scans if one.subject != head], TARGET)
        for one in own:
            raw = None if quick else segment_tissues(one.preproc, one.mask)
            for method, image in versions(variants, one, answer, fit, quick=quick):
                if not quick:
                    features.setdefault(method, []).append(random_features([halved(image)])[0])
                if one.site != TARGET:
                    row = pair_row(image, answer)
                    if raw is not None:
                        after = raw if method == RAW else segment_tissues(image, one.mask)
                        row |= {"Dice": dice(raw, after), "true Dice": dice(truth[head], after)}
                    rows.setdefault(method, []).append(row)
                    sys.stderr.write(f"{one.name} {method} {row}\n")
    means = {name: mean_row(each) for name, each in rows.items()}
    for method in means.keys() & {name for name, each in features.items() if len(each) == len(scans)}:
        means[method]["site"] = site_accuracy(np.stack(features[method]), scans)
    return means


def ceilings(model: Harmonizer, second: Sequence[ScanArrays], scans: Sequence[ScanArrays]) -> dict[str, Row]:
    """Figures of second sessions at the target against the first, as they are and by the model."""
    rows: dict[str, list[Row]] = {}
    for one in second:
        answer = next(s for s in scans if s.site == TARGET and s.subject == one.subject)
        for name, image in ((SECOND, one.preproc), (f"{SECOND}, MMH", harmonized(model, one))):
            rows.setdefault(name, []).append(pair_row(image, answer))
    return {name: mean_row(each) for name, each in rows.items()}


def mean_row(rows: Sequence[Row]) -> Row:
    """Mean of every figure."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def dice(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Mean Dice over the tissues of two segmentations."""
    return float(np.mean([tissue.dice for tissue in overlap(before, after).values()]))


def halved(image: Float) -> Float:
    """Means of 2×2×2 voxels: the classifier's network costs an eighth."""
    h, w, d = (side // 2 for side in image.shape)
    return np.asarray(image.reshape(h, 2, w, 2, d, 2).mean(axis=(1, 3, 5)))


def to_target(model: Harmonizer, scans: Sequence[ScanArrays]) -> Harmonizer:
    """The model towards the target scanner; the style never counts the subject at hand."""
    there = [one for one in scans if one.site == TARGET]
    m = model.sequence_index(there[0].sequence)
    return model.towards(
        TARGET, gather_styles([s.subject for s in there], [m] * len(there), [style(s) for s in there])
    )


def changed(model: Harmonizer, changes: Mapping[str, float | str]) -> Harmonizer:
    """The same weights and target with other settings."""
    other = copy(model)
    other.config = replace(model.config, **changes)
    return other


def style(one: ScanArrays) -> StyleStatistics:
    """Whole-brain style and, by the control's own measurement, the style by tissue."""
    image, mask = torch.from_numpy(one.preproc)[None, None], torch.from_numpy(one.mask)[None, None]
    return replace(style_statistics(image, mask), tissues=one.tissues)


def versions(
    variants: Mapping[str, Harmonizer], one: ScanArrays, answer: ScanArrays, fit: Fit, *, quick: bool
) -> Iterator[tuple[str, Float]]:
    """Every method's version of a scan."""
    for name, control in CONTROLS.items():
        if not quick or name in (RAW, "Tissue landmarks"):
            yield name, control(one, fit)
    yield REGIONAL, match_tissues(one.preproc, one.mask, one.tissues, fit.tissues, regional=1.0)
    for name, model in variants.items():
        yield name, harmonized(model, one)
    if not quick and one.site != TARGET:
        yield CURVE, best_curve(one, answer)


def harmonized(model: Harmonizer, one: ScanArrays) -> Float:
    """The scan at the target scanner, by the model."""
    image, mask = torch.from_numpy(one.preproc)[None, None], torch.from_numpy(one.mask)[None, None]
    index = torch.tensor([model.sequence_index(one.sequence)])
    return np.asarray(model(image, mask, index, subject=one.subject)[0, 0].numpy())


def best_curve(one: ScanArrays, answer: ScanArrays) -> Float:
    """The best function of intensity there is, fitted to the answer: no method is allowed to."""
    values, target = one.preproc[one.mask], answer.preproc[one.mask]
    edges = np.linspace(-1.2, 1.2, 201)
    place = np.clip(np.digitize(values, edges), 1, 200) - 1
    count = np.maximum(np.bincount(place, minlength=200), 1)
    out = np.full(one.preproc.shape, -1, dtype=np.float32)
    out[one.mask] = (np.bincount(place, target, 200) / count)[place]
    return out


def pair_row(image: Float, answer: ScanArrays) -> Row:
    """Likeness to the same head's scan at the target."""
    found = similarity(image, answer.preproc, answer.mask)
    return {"PSNR": found.psnr, "SSIM": found.ssim, "WD": found.wd, "PCC": found.pcc}


def site_accuracy(features: NDArray[np.float32], scans: Sequence[ScanArrays]) -> float:
    """Share of scans whose scanner a classifier finds that never saw their head."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sites, heads = [one.site for one in scans], [one.subject for one in scans]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    found = cross_val_predict(classifier, features, sites, groups=heads, cv=LeaveOneGroupOut())
    return float(np.mean(found == np.asarray(sites)))


def table(sequence: str, means: Mapping[str, Row]) -> str:
    """Rows of a Markdown table."""
    keys = list(means[MMH])
    lines = [f"\n**{sequence}**\n", "| Method | " + " | ".join(keys) + " |", "|---|" + "---:|" * len(keys)]
    for method, row in means.items():
        cells = (f"{row[key]:.{2 if key in ('PSNR', 'site') else 3}f}" if key in row else "" for key in keys)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
