"""Bring public heads and brains on to the model's grid, as anatomies for the training generator.

``python benchmarks/data/anatomies.py SOURCE_DIR OUT_DIR``

SOURCE_DIR holds ``labels/*_dseg.nii.gz``, label maps of heads (the public repository BBillot/SynthSeg,
``data/training_label_maps``, Apache-2.0), and ``t1w/*_T1w.nii.gz``, skull-stripped T1w scans (OpenNeuro
ds002748 1.0.5, CC0). Each becomes one ``.npz`` in OUT_DIR/labels or OUT_DIR/t1w: see
:class:`bids_mmh.synthesis.anatomies.Anatomy`. About 20 CPU seconds each; what is there already is kept.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mmh.evaluation.tissues import segment_tissues
from bids_mmh.files import atomic_path
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import to_array, to_sitk
from bids_mmh.preprocess.steps.registration.settings import RegistrationSettings
from bids_mmh.preprocess.steps.registration.template import nine_dof
from bids_mmh.preprocess.steps.resample import resample_mask, resample_scan
from bids_mmh.preprocess.template import NILEARN_SPACE, find_template
from bids_mmh.synthesis.regions import FREESURFER, Region

GRID = model_grid(1.0)
PARTIAL_VOLUME_MM = 0.6  # standard deviation: label maps are of 1 mm, and no voxel of a scan is as pure
CLOSING_MM = 4
BRIGHTNESS = {  # of a T1w made of labels, to register it
    Region.CSF: 25, Region.WHITE: 110, Region.CEREBELLAR_WHITE: 110, Region.BRAIN_STEM: 105, Region.PALLIDUM:
    105, Region.THALAMUS: 95, Region.VENTRAL_DC: 100,
}  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Prepare all anatomies; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = [(path, from_labels) for path in sorted(options.source.glob("labels/*_dseg.nii.gz"))]
    jobs += [(path, from_t1w) for path in sorted(options.source.glob("t1w/*_T1w.nii.gz"))]
    for path, prepare in jobs:
        out = options.out / path.parent.name / f"{path.name.split('_')[0]}.npz"
        out.parent.mkdir(parents=True, exist_ok=True)
        if not out.exists():
            with atomic_path(out) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **prepare(path, options.out))
            print(out, flush=True)
    return 0


def from_labels(path: Path, cache: Path) -> dict[str, NDArray[np.generic]]:
    """An anatomy of a label map: the two commonest regions of each voxel and the share of the first."""
    image = nib.Nifti1Image.from_filename(path)
    labels = np.asarray(image.dataobj).astype(np.int32)
    regions = np.zeros(labels.shape, dtype=np.uint8)
    for label, region in FREESURFER.items():
        regions[labels == label] = region
    box = ndimage.find_objects((regions > 0).astype(np.uint8))[0]
    box = tuple(slice(max(0, s.start - 6), s.stop + 6) for s in box)
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    regions, affine = reoriented(regions[box], affine)
    tissue = (regions > 0) & (regions != Region.CSF)
    mask = ndimage.binary_closing(np.pad(tissue, 6), iterations=CLOSING_MM)[6:-6, 6:-6, 6:-6]
    mask = ndimage.binary_dilation(ndimage.binary_fill_holes(mask) & (regions > 0)) & (regions > 0)
    values = np.vectorize(lambda r: BRIGHTNESS.get(r, 80) if r else 0)(np.arange(32))[regions].astype(
        np.float32
    )
    transform = to_template(
        np.where(mask, ndimage.gaussian_filter(values, PARTIAL_VOLUME_MM), 0), affine, cache
    )
    best = np.zeros((2, *GRID.shape), dtype=np.float32)
    which = np.zeros((2, *GRID.shape), dtype=np.uint8)
    # beyond the brain there is fluid: a voxel at its rim is mixed with that
    regions = np.where(regions == 0, np.uint8(Region.CSF), regions)
    for region in np.unique(regions):
        fuzzy = ndimage.gaussian_filter((regions == region).astype(np.float32), PARTIAL_VOLUME_MM)
        share = to_array(resample_linear(to_sitk(fuzzy, affine), transform))
        first, second = share > best[0], share > best[1]
        best[1] = np.where(first, best[0], np.where(second, share, best[1]))
        which[1] = np.where(first, which[0], np.where(second, region, which[1]))
        best[0], which[0] = np.where(first, share, best[0]), np.where(first, region, which[0])
    on_grid = to_array(resample_mask(to_sitk(mask.astype(np.uint8), affine), GRID.reference(), transform)) > 0
    share = best[0] / np.maximum(best.sum(0), 1e-6)
    return {
        "first": which[0],
        "second": which[1],
        "share": np.round(share * 255).astype(np.uint8),
        "texture": np.zeros((1, 1, 1), dtype=np.int8),
        "mask": on_grid,
    }


def from_t1w(path: Path, cache: Path) -> dict[str, NDArray[np.generic]]:
    """An anatomy of a stripped T1w scan: its tissues by intensity, and what is left as texture."""
    image = nib.as_closest_canonical(nib.Nifti1Image.from_filename(path))
    values = np.asarray(image.dataobj, dtype=np.float32)
    brain = ndimage.binary_fill_holes(values > 0)
    transform = to_template(values, image.affine, cache)
    sitk = to_sitk(values, image.affine)
    moved = to_array(resample_scan(sitk, GRID.reference(), transform))
    mask = (
        to_array(resample_mask(to_sitk(brain.astype(np.uint8), image.affine), GRID.reference(), transform))
        > 0
    )
    labels = segment_tissues(np.where(mask, moved, 0), mask)
    centres = np.array([np.median(moved[labels == k]) for k in (1, 2, 3)])
    place = np.interp(moved, centres, [0.0, 1.0, 2.0]).astype(np.float32)
    lower = np.clip(np.floor(place), 0, 1).astype(np.uint8)
    tissues = np.array([Region.CSF, Region.CORTEX, Region.WHITE], dtype=np.uint8)
    pure = np.interp(place, [0, 1, 2], centres)
    # what a voxel is above or below its mixture, in units of the step from grey to white matter
    rest = np.where(mask, (moved - pure) / (centres[2] - centres[1]), 0) + np.where(
        mask & (np.abs(place - np.round(place)) < 0.25), 0.5 * (place - np.round(place)), 0
    )
    return {
        "first": tissues[lower],
        "second": tissues[lower + 1],
        "share": np.round((1 - (place - lower)) * 255).astype(np.uint8),
        "texture": np.round(np.clip(rest, -1, 1) * 127).astype(np.int8),
        "mask": mask,
    }


def to_template(brain: NDArray[np.float32], affine: NDArray[np.float64], cache: Path) -> "object":
    """Nine degrees of freedom to the template that ships with nilearn."""
    template = find_template(NILEARN_SPACE, cache)
    from bids_mmh.preprocess.images import read_nifti

    settings = RegistrationSettings(sampling=(1.0, 0.5, 0.15))
    fixed, fixed_mask = read_nifti(template.t1w), read_nifti(template.brain_mask, np.uint8)
    return nine_dof(fixed, fixed_mask, to_sitk(brain, affine), settings)[0]


def resample_linear(image: "object", transform: "object") -> "object":
    """On the model's grid, linearly."""
    import SimpleITK

    return SimpleITK.Resample(
        image, GRID.reference(), transform, SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32
    )


def reoriented(
    data: NDArray[np.uint8], affine: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The same map with its axes to the right, to the front and up."""
    image = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    return np.asarray(image.dataobj).astype(np.uint8), image.affine


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
