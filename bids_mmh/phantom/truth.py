"""The ground truth of a scan: tissues, brain, reference image, receive field, transform to the template."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.files import quantized, scan_stem, sidecar_path, write_image, write_json, write_tsv
from bids_mmh.phantom.head.deformation import DISPLACEMENT_GRID, Matrix
from bids_mmh.phantom.head.grid import Float
from bids_mmh.phantom.head.subject import Head
from bids_mmh.phantom.imaging.acquisition import reference_site
from bids_mmh.phantom.imaging.relaxation import Tissue
from bids_mmh.phantom.imaging.scanner import Geometry, magnetisation, sample

TEMPLATE = "MNI152NLin2009aSym"
"""Name of the template whose maps nilearn ships."""

_DESCRIPTIONS = (
    ("desc-brain", "Brain mask: brain, ventricles and sulci."),
    ("desc-reference", "The scan as the reference scanner would have taken it: no noise, no receive field."),
    ("desc-receivefield", "Multiplicative receive field in the scan."),
    ("desc-nonlinear", "Displacement that follows the linear transform."),
)
_TRANSFORM = (
    "Linear part (9 degrees of freedom) of the way from the scan to the template. The text file holds it as "
    "ITK does, from template points to scan points (LPS); ScanToTemplate maps scan points to template points "
    "(RAS, mm). The head's own shape comes on top: template = p + d(p) with p = ScanToTemplate * scan and d "
    "the image with desc-nonlinear (three components, RAS, mm)."
)


@dataclass(frozen=True)
class _Place:
    """Where the ground truth of one scan goes: ``stem`` up to the entities, and the scan as a BIDS URI."""

    stem: Path
    suffix: str
    source: str
    affine: Matrix
    orientation: str

    def write(self, name: str, values: NDArray[np.generic], metadata: Mapping[str, object]) -> None:
        path = self.stem.with_name(f"{self.stem.name}_{name}.nii.gz")
        write_image(path, values, self.affine, orientation=self.orientation)
        write_json(sidecar_path(path), {**metadata, "Sources": [self.source]})


def write_truth(root: Path, scan: Path, head: Head, geometry: Geometry, field: Float) -> None:
    """Write the ground truth of one scan, on the voxels of that scan.

    Args:
        root: Folder of the ground truth, ``derivatives/truth`` of the dataset.
        scan: Path of the scan, which exists.
        head: The head in the scanner.
        geometry: Geometry of the scan.
        field: Receive field in the scan, the scan's shape, about 1.
    """
    relative = scan.relative_to(root.parent.parent)
    stem, suffix = scan_stem(relative)
    place = _Place(
        root / stem, suffix, f"bids:raw:{relative.as_posix()}", geometry.affine, geometry.orientation
    )
    native = {"SpatialReference": place.source}
    place.write(f"space-{suffix}_dseg", sample(head.anatomy.labels, geometry, order=0), native)
    mask = sample(head.anatomy.brain, geometry, order=0)
    place.write(f"space-{suffix}_desc-brain_mask", mask, {"Type": "Brain", **native})
    target = reference_site()
    reference = sample(magnetisation(head.anatomy, target.protocols[suffix], target.field_strength), geometry)
    place.write(f"desc-reference_{suffix}", quantized(reference), {"SkullStripped": False})
    place.write(f"desc-receivefield_{suffix}", quantized(field, 2000), {"SkullStripped": False})
    _write_transform(place, head, geometry.to_template)


def itk_affine(scan_to_template: Matrix) -> Matrix:
    """Convert a scan-to-template matrix to the one that ITK needs to resample a scan onto the template.

    Args:
        scan_to_template: Scan points to template points, RAS mm, 4 x 4.

    Returns:
        Template points to scan points, LPS mm, 4 x 4.

    Examples:
        >>> shift = np.eye(4)
        >>> shift[:3, 3] = (1, 2, 3)
        >>> itk_affine(shift)[:3, 3].tolist()
        [1.0, 2.0, -3.0]
    """
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ np.linalg.inv(scan_to_template) @ flip


def _write_transform(place: _Place, head: Head, scan_to_template: Matrix) -> None:
    """Write the transform to the template: an ITK affine, a JSON file, and the displacement that follows."""
    import SimpleITK

    base = f"{place.stem.name}_from-{place.suffix}_to-{TEMPLATE}_mode-image"
    matrix = itk_affine(scan_to_template)
    affine = SimpleITK.AffineTransform(3)
    affine.SetMatrix(matrix[:3, :3].ravel().tolist())
    affine.SetTranslation(matrix[:3, 3].tolist())
    SimpleITK.WriteTransform(affine, str(place.stem.with_name(f"{base}_xfm.txt")))
    write_json(
        place.stem.with_name(f"{base}_xfm.json"),
        {
            "Description": _TRANSFORM,
            "ScanToTemplate": scan_to_template.tolist(),
            "Sources": [place.source],
        },
    )
    grid = np.diag([DISPLACEMENT_GRID.spacing] * 3 + [1.0])
    grid[:3, 3] = DISPLACEMENT_GRID.origin
    path = place.stem.with_name(f"{base}_desc-nonlinear_xfm.nii.gz")
    write_image(path, np.moveaxis(head.displacement, 0, -1), grid, form=4)


def write_truth_description(root: Path, version: str) -> None:
    """Write the dataset-level files of the ground truth.

    Args:
        root: Folder of the ground truth.
        version: Version of this package.
    """
    write_json(
        root / "dataset_description.json",
        {
            "Name": "Truth of the travelling-subject phantom",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "License": "see README of the dataset",
            "GeneratedBy": [{"Name": "bids-mmh-phantom", "Version": version}],
            "SourceDatasets": [{"URL": "bids:raw:"}],
            "DatasetLinks": {"raw": "../.."},
        },
    )
    write_tsv(root / "descriptions.tsv", ("desc_id", "description"), _DESCRIPTIONS)
    labels = [(t.value, t.name.capitalize().replace("_", " "), t.name) for t in Tissue]
    write_tsv(root / "dseg.tsv", ("index", "name", "abbreviation"), labels)
    (root / ".bidsignore").write_text("*_xfm.*\n", encoding="utf-8")
    (root / "README").write_text(
        "# Truth of the travelling-subject phantom\n\n"
        "What is known of each scan because it was simulated: tissues, brain, receive field, the image of\n"
        "a reference scanner, and the way to the template. Tissue labels are named in dseg.tsv, desc-\n"
        "entities in descriptions.tsv; each transform is explained in its JSON file.\n",
        encoding="utf-8",
    )
