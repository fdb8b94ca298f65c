"""Random pairs of a T1w and a T2w, for ``preprocessing.py pairs``: is the way between them found?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from travel import FAILED_MM, way_error
from travelling_heads import Kind, random_kind, travel

from bids_mmh.preprocess.engines.choice import align_to_anchor
from bids_mmh.preprocess.images import read_nifti
from bids_mmh.preprocess.options import PreprocessOptions
from bids_mmh.preprocess.steps.registration.session import CLEAR_COHERENCE
from bids_mmh.preprocess.transforms import to_matrix
from bids_mmh.synthesis.heads import read_head

Row = dict[str, float | str]
THICK_MM = 1.5


def pair_rows(labels: Sequence[Path], pairs: int, seed: int, work: Path) -> Iterator[Row]:
    """Align the scans of random pairs, inside the true brain of the T1w; one row for each.

    Args:
        labels: label maps of heads, used in turn.
        pairs: number of pairs.
        seed: of everything that is random.
        work: folder for the scans; those that are there are not made again.
    """
    for number in range(pairs):
        head = read_head(labels[number % len(labels)])
        kind = random_kind(np.random.default_rng([seed, number]))
        pair = travel(head, number, seed, work / "pairs", kind)
        t1w, t2w = (read_nifti(path, np.float32) for path in pair.scans.values())
        mask = pair.brain_mask("T1w")
        found, coherence = align_to_anchor(t1w, mask, t2w, work_dir=work, options=PreprocessOptions())
        yield {
            "pair": f"{number}, {pair.head}",
            "T1w mm": _sizes(kind.t1w),
            "T2w mm": _sizes(kind.t2w),
            "thickest": max(*kind.t1w, *kind.t2w),
            "what": _difficulties(kind),
            "mm": way_error(pair, to_matrix(found)),
            "coherence": float("nan") if coherence is None else coherence,
        }


def _sizes(voxel: Sequence[float]) -> str:
    return " × ".join(f"{size:.1f}" for size in voxel)


def _difficulties(kind: Kind) -> str:
    said = {"fat-saturated": kind.fat_saturated, "headers lost": kind.lost, "FLAIR": kind.fluid_suppressed}
    return ", ".join([f"{kind.oblique_deg:.0f}°", *(name for name, applies in said.items() if applies)])


def pair_summary(rows: Sequence[Row]) -> list[Row]:
    """Median and worst distance, the share within the goal and the number lost, by thickness of slices."""
    groups = {
        "3D": (0.3, [row for row in rows if float(row["thickest"]) < THICK_MM]),
        "slices of 2 to 4 mm": (0.5, [row for row in rows if float(row["thickest"]) >= THICK_MM]),
        "all": (0.5, list(rows)),
    }
    out: list[Row] = []
    for name, (goal, own) in groups.items():
        off = np.array([float(row["mm"]) for row in own])
        lost = [row for row in own if float(row["mm"]) > FAILED_MM]
        out.append(
            {
                "pairs": f"{name} ({len(own)})",
                "median mm": float(np.median(off)),
                "95th percentile": float(np.percentile(off, 95)),
                "worst": float(off.max()),
                "within the goal %": 100 * float((off <= goal).mean()),
                "goal mm": goal,
                "lost": str(len(lost)),
                "lost, coherence in doubt": str(
                    sum(float(row["coherence"]) < CLEAR_COHERENCE for row in lost)
                ),
            }
        )
    return out
