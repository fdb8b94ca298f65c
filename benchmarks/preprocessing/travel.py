"""Where travelling heads land, for ``preprocessing.py travel``: beside the truth and at every scanner."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from measures import distances, lps, variation
from numpy.typing import NDArray
from outcome import Outcome, preprocess
from travelling_heads import Traveller, travel

from bids_mmh.errors import BidsMmhError
from bids_mmh.evaluation.metrics.similarity import similarity
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import read_nifti, to_array
from bids_mmh.preprocess.scaling import intensity_scaling
from bids_mmh.preprocess.steps.resample import resample_mask, resample_scan
from bids_mmh.preprocess.transforms import from_matrix, read_transform, to_matrix
from bids_mmh.synthesis.heads import read_head

Matrix = NDArray[np.float64]
Row = dict[str, float | str]
Visit = tuple[Traveller, Mapping[str, Outcome]]
FAILED_MM = 2.0  # root mean square: nobody would call that aligned
GREY, WHITE = 1, 2
MEANS = ("CV", "SSIM", "field")  # figures of which a summary has the mean


def travel_rows(labels: Sequence[Path], scanners: int, seed: int, work: Path) -> Iterator[Row]:
    """Preprocess every head at every scanner; one row for each session, as far as one session can be judged.

    Args:
        labels: label maps of heads.
        scanners: number of scanners.
        seed: of everything that is random.
        work: folder; what is in it already is not made again.
    """
    for path in labels:
        head = read_head(path)
        visits = []
        for scanner in range(scanners):
            visit = travel(head, scanner, seed, work / "heads")
            try:
                made = preprocess(f"{visit.head}_scanner{scanner}", visit.scans, work)
            except BidsMmhError as error:
                yield {"head": visit.head, "scanner": visit.kind.name, "warnings": f"Refused: {error}"}
                continue
            visits.append((visit, made))
        yield from _one_head(visits)


def _one_head(visits: Sequence[Visit]) -> Iterator[Row]:
    places = {suffix: _spread([(v, made[suffix]) for v, made in visits]) for suffix in ("T1w", "T2w")}
    for number, (visit, made) in enumerate(visits):
        row: Row = {
            "head": visit.head,
            "scanner": visit.kind.name,
            "T2w to T1w mm": session_error(visit, made),
        }
        for suffix, outcome in made.items():
            row[f"{suffix} to MNI mm"] = float(places[suffix][number])
            row |= {f"{suffix} {k}": v for k, v in tissue_variation(visit, suffix, outcome).items()}
            row |= {f"{suffix} {k}": v for k, v in field_left(visit, suffix, outcome).items()}
            if number:
                row |= {f"{suffix} {k}": v for k, v in likeness(visits[0], (visit, made), suffix).items()}
        row["coherence"] = made["T2w"].qc.get("anchor_coherence", float("nan"))
        row["CPU s"] = sum(sum(o.qc["seconds"].values()) for o in made.values())
        row["warnings"] = " ".join(f"{s}: {w}" for s, o in made.items() for w in o.qc["warnings"])
        yield row


def session_error(visit: Traveller, made: Mapping[str, Outcome]) -> float:
    """Root mean square over the brain, in mm, of the way from T1w to T2w."""
    found = to_matrix(read_transform(made["T2w"].folder.with_name("anchor_t2w") / "to_anchor.txt"))
    return way_error(visit, found)


def way_error(visit: Traveller, found: Matrix) -> float:
    """The same for a 4 x 4 matrix from points of the T1w to points of the T2w, LPS."""
    in_t1w = lps(visit.poses["T1w"]) @ _flipped(visit.brain)
    true = lps(visit.poses["T2w"] @ np.linalg.inv(visit.poses["T1w"]))
    return _rms(distances(found, true, in_t1w))


def _spread(visits: Sequence[tuple[Traveller, Outcome]]) -> NDArray[np.float64]:
    """How far each scan's way from MNI to the head is off the median of that head, RMS over the brain, mm."""
    ways = [np.linalg.inv(lps(v.poses[_suffix(o)])) @ o.from_template for v, o in visits]
    if not ways:
        return np.zeros(0)
    points = np.linalg.inv(ways[0]) @ _flipped(visits[0][0].brain)
    there = np.stack([(way @ points)[:3] for way in ways])
    off = there - np.median(there, axis=0)
    return np.array([_rms(np.linalg.norm(one, axis=0)) for one in off])


def _suffix(outcome: Outcome) -> str:
    return outcome.raw.name.split(".")[0]


def tissue_variation(visit: Traveller, suffix: str, outcome: Outcome) -> Row:
    """Coefficient of variation in % inside pure grey and white matter, as scanned and corrected."""
    tissues = to_array(visit.tissues(suffix))
    before = to_array(read_nifti(outcome.raw))
    after = to_array(read_nifti(outcome.folder / "native_preproc.nii.gz"))
    row: Row = {}
    for name, label in (("GM", GREY), ("WM", WHITE)):
        inside = tissues == label
        row[f"{name} CV raw %"] = variation(before[inside])
        row[f"{name} CV %"] = variation(after[inside])
    return row


def field_left(visit: Traveller, suffix: str, outcome: Outcome) -> Row:
    """Standard deviation over the brain, in %, of the true field, and of what the correction left of it."""
    before, after = (to_array(read_nifti(p)) for p in (outcome.raw, outcome.folder / "native_preproc.nii.gz"))
    inside = (to_array(visit.brain_mask(suffix)) > 0) & (before > 0) & (after > 0)
    true = np.log(to_array(visit.field(suffix))[inside])
    found = np.log(before[inside] / after[inside])
    return {"field %": 100 * float(true.std()), "field left %": 100 * float((true - found).std())}


def likeness(reference: Visit, visit: Visit, suffix: str) -> Row:
    """SSIM of a scan with that of the first scanner: as preprocessed, and by the true way between the two."""
    (there, at_first), (here, made) = reference, visit
    first, found = at_first[suffix], made[suffix]
    between = lps(here.poses[suffix]) @ np.linalg.inv(lps(there.poses[suffix]))
    true = from_matrix(between @ first.from_template)
    grid = model_grid(1.0).reference()
    image, mask = (read_nifti(found.folder / f"native_{name}.nii.gz") for name in ("preproc", "mask"))
    moved = to_array(resample_scan(image, grid, true)), to_array(resample_mask(mask > 0, grid, true))
    return {
        "SSIM": _ssim(first, found.image("mni_preproc"), found.image("mni_mask")),
        "SSIM, true alignment": _ssim(first, *moved),
    }


def _ssim(first: Outcome, image: NDArray[np.float32], mask: NDArray[np.generic]) -> float:
    """Of two brains, each scaled on its own as preprocessing does."""
    own, other = first.image("mni_mask") > 0, mask > 0
    scaled = []
    for voxels, inside in ((first.image("mni_preproc"), own), (image, other)):
        slope, intercept = intensity_scaling(voxels[inside])
        scaled.append(voxels * slope + intercept)
    return similarity(scaled[0], scaled[1], own & other).ssim


def travel_summary(rows: Sequence[Row]) -> list[Row]:
    """Mean and worst of every figure and the number of failures, by scanner and for all."""
    done = [row for row in rows if "T2w to T1w mm" in row]
    out: list[Row] = []
    for name in [*dict.fromkeys(row["scanner"] for row in done), "all"]:
        own = [row for row in done if name in (row["scanner"], "all")]
        line: Row = {"scanner": f"{name} ({len(own)})"}
        for key in ("T2w to T1w mm", "T1w to MNI mm", "T2w to MNI mm"):
            values = [float(row[key]) for row in own]
            line[f"{key}, mean"], line[f"{key}, worst"] = float(np.mean(values)), max(values)
        line["failures"] = str(sum(float(row["T2w to T1w mm"]) > FAILED_MM for row in own))
        line["flagged"] = str(sum(bool(row["warnings"]) for row in own))
        for key in dict.fromkeys(key for row in own for key in row if any(word in key for word in MEANS)):
            line[key] = float(np.mean([float(row[key]) for row in own if key in row]))
        out.append(line)
    return out


def _flipped(points: Matrix) -> Matrix:
    """RAS to LPS."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ points


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values**2).mean()))
