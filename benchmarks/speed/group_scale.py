"""Time and memory of the group level on a big study: synthetic sidecars, no images.

``python benchmarks/speed/group_scale.py [--scans 4000] [--sites 20] [--out FOLDER]`` prints Markdown. The
sidecars are those of harmonized scans; some stand out in one way or another. With ``--out`` the folder is
kept, to look at its ``group.html``.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from session import PROGRAM, measured

from bids_mmh.evaluation.metrics.statistics import image_statistics

VOXELS = 2000  # enough for a smooth histogram


def write_study(root: Path, scans: int, sites: int, seed: int = 0) -> None:
    """Write the sidecars of a study of T1w and T2w scans in equal shares, with ages.

    Args:
        root: Derivatives folder.
        scans: Number of scans.
        sites: Number of sites; each has its own contrast.
        seed: Decides everything.
    """
    rng = np.random.default_rng(seed)
    shifts = rng.normal(0, 0.15, sites)
    people = []
    for number in range((scans + 1) // 2):
        subject, site = f"sub-{number:05d}", number % sites
        folder = root / subject / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        people.append(f"{subject}\t{rng.integers(20, 80)}")
        for sequence in ("T1w", "T2w")[: 2 if 2 * number + 1 < scans else 1]:
            odd = (number % 50, sequence) == (7, "T1w")
            fields = sidecar(rng, float(shifts[site]) + 0.8 * odd, f"site{site:02d}", sequence)
            if odd:
                fields["AnatomyPreservation"] = 0.7
            if number % 50 == 23:
                fields["QualityWarnings"] = [
                    "The brain mask measures 812 ml, unusual for an adult: look at it."
                ]
            name = f"{subject}_space-MNI152NLin2009cAsym_res-1_desc-harmonized_{sequence}.json"
            (folder / name).write_text(json.dumps(fields))
        (root / f"{subject}.html").write_text("<p>page of a subject</p>")
    (root / "participants.tsv").write_text("\n".join(["participant_id\tage", *people]) + "\n")


def sidecar(rng: np.random.Generator, shift: float, site: str, sequence: str) -> dict[str, object]:
    """What the participant level writes beside a harmonized scan, as far as the group level reads it."""
    tissues = np.concatenate([rng.normal(mean, 0.12, VOXELS // 3) for mean in (-0.6, 0.0, 0.45)])
    before, after = np.clip(tissues + shift, -1, 1), np.clip(tissues + 0.1 * shift, -1, 1)
    before_record, after_record = (image_statistics(values).to_dict() for values in (before, after))
    for record in (before_record, after_record):
        record["voxels"] = int(rng.normal(1.7e6, 2e4))
    return {
        "Site": site,
        "Sequence": sequence,
        "ImageStatistics": {"before": before_record, "after": after_record},
        "AnatomyPreservation": round(float(rng.normal(0.985, 0.003)), 4),
        "Model": {"Name": "synthetic", "SHA256": "0" * 64, "Target": "unified", "Encoder": None},
        "QualityWarnings": [],
        "ConfigurationHash": "synthetic",
    }


def main(argv: Sequence[str]) -> int:
    """Make the study, run the group level on it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scans", type=int, default=4000)
    parser.add_argument("--sites", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.out or Path(scratch) / "out"
        write_study(root, options.scans, options.sites)
        common = [*PROGRAM, str(root.parent / "raw"), str(root), "group", "--skip-bids-validation"]
        took = measured([*common, "-w", f"{scratch}/work", "--no-evaluation"])
        sizes = {name: (root / name).stat().st_size / 1e6 for name in ("group.html", "group_T1w_table.tsv")}
    machine = platform.processor() or platform.machine()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}; {options.scans} scans, {options.sites} sites\n")
    print("| wall s | CPU s | peak GB | page MB | T1w table MB |\n|---|---|---|---|---|")
    figures = (took["wall_s"], took["cpu_s"], took["peak_gb"], *sizes.values())
    print("| " + " | ".join(f"{value:.1f}" for value in figures) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
