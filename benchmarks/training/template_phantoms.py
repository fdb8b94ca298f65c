"""Phantom scans simulated on the template grid itself, laid out as preprocessed derivatives.

``python benchmarks/training/template_phantoms.py OUT_DIR --subjects 16 --sites 16 --seed 2026``

Training data for the slice encoder in minutes: nothing has to be extracted, corrected or registered, because
the head never leaves the template's frame, its brain is known, and the receive field is as weak as a bias
correction leaves it. Subject i is scanned at site i modulo the sites, with ``--travelling`` at every site.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.head.deformation import template_voxels
from bids_mmh.phantom.head.subject import Head, build_head, draw_subject
from bids_mmh.phantom.head.template_head import template_head
from bids_mmh.phantom.imaging.acquisition import Protocol, Site, draw_site
from bids_mmh.phantom.imaging.scanner import Geometry, sample, scan
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.scaling import intensity_scaling

GRID = model_grid(1.0)
FIELD_LEFT = 0.3  # of the receive field, after a bias correction


def main(argv: Sequence[str]) -> int:
    """Write the scans; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", type=int, default=16)
    parser.add_argument("--sites", type=int, default=16)
    parser.add_argument("--travelling", action="store_true")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args(argv)
    for subject in range(options.subjects):
        head = build_head(template_head(), options.seed, subject)
        label = draw_subject(options.seed, subject).label
        for number in range(options.sites) if options.travelling else [subject % options.sites]:
            site = draw_site(options.seed, number)
            for sequence in site.protocols:
                rng = np.random.default_rng([options.seed, 5, subject, number, len(sequence)])
                values, mask = simulate(head, site, sequence, rng)
                folder = options.out / f"sub-{label}" / f"ses-{site.name}" / "anat"
                write(folder, sequence, site.name, values, mask)
    return 0


def simulate(
    head: Head, site: Site, sequence: str, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return a scan and its brain mask on the template grid."""
    geometry = in_template(head, site.protocols[sequence])
    values, _ = scan(head, replace(site, bias=FIELD_LEFT * site.bias), sequence, geometry, rng)
    return values, sample(head.anatomy.brain, geometry, order=0)


def in_template(head: Head, protocol: Protocol) -> Geometry:
    """Place a head in the template's frame: its linear part undone, its own shape kept."""
    return Geometry(
        shape=GRID.shape,
        size=protocol.voxel,  # what the point-spread function is measured in
        orientation="RAS",
        affine=GRID.affine,
        to_template=np.eye(4),
        voxels=template_voxels(GRID.shape, GRID.affine, head.displacement),
    )


def write(
    folder: Path, sequence: str, site: str, values: NDArray[np.float32], mask: NDArray[np.uint8]
) -> None:
    """Write image, mask and sidecar as the participant level does."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{folder.parts[-3]}_{folder.parts[-2]}_space-MNI152NLin2009aSym"
    brain = f"{stem}_desc-brain_mask.nii.gz"
    nib.save(nib.Nifti1Image(mask, GRID.affine), folder / brain)
    image = np.where(mask > 0, values, 0).astype(np.float32)
    nib.save(nib.Nifti1Image(image, GRID.affine), folder / f"{stem}_desc-preproc_{sequence}.nii.gz")
    slope, intercept = intensity_scaling(values[mask > 0])
    sidecar = {
        "Site": site,
        "Sequence": sequence,
        "BrainMask": brain,
        "IntensityScaling": {"Slope": slope, "Intercept": intercept},
    }
    path = folder / f"{stem}_desc-preproc_{sequence}.json"
    path.write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
