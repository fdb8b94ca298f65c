"""One session: a subject scanned at a site, and the files that come of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.files import sidecar_path, write_image, write_json
from bids_mmh.phantom.head.deformation import Matrix, rigid
from bids_mmh.phantom.head.grid import Float
from bids_mmh.phantom.head.subject import Head
from bids_mmh.phantom.imaging.acquisition import Site
from bids_mmh.phantom.imaging.scanner import place, scan
from bids_mmh.phantom.plan import SEQUENCES, Plan
from bids_mmh.phantom.sidecar import scan_sidecar
from bids_mmh.phantom.truth import write_truth


@dataclass(frozen=True)
class Session:
    """A subject at a site.

    Attributes:
        root: Folder of the dataset.
        stem: Path of the session's files below the root, up to the suffix, e.g. ``sub-001/anat/sub-001``.
        head: Head of the subject.
        site: The site and its scanner.
    """

    root: Path
    stem: Path
    head: Head
    site: Site


def write_session(session: Session, plan: Plan, rng: np.random.Generator) -> None:
    """Scan a subject with every sequence of the plan and write images, sidecars and ground truth.

    Args:
        session: The subject and the site.
        plan: Its sequences, resolution and ground-truth option count.
        rng: Random generator of head pose, motion between the sequences, and noise.
    """
    pose = rigid(rng.uniform(-6, 6, size=3), rng.uniform(-5, 5, size=3))
    for suffix in SEQUENCES:
        # Drawn for every sequence, so that leaving one out does not change another.
        motion = rigid(rng.normal(0, 0.8, size=3), rng.normal(0, 0.8, size=3))
        noise = np.random.default_rng(rng.integers(2**32))
        if suffix in plan.sequences:
            _write_scan(session, suffix, pose @ motion, noise, plan)


def _write_scan(session: Session, suffix: str, pose: Matrix, rng: np.random.Generator, plan: Plan) -> None:
    protocol = session.site.protocols[suffix]
    geometry = place(session.head, session.site, protocol, pose, plan.resolution)
    values, field = scan(session.head, session.site, suffix, geometry, rng)
    path = session.root / session.stem.with_name(f"{session.stem.name}_{suffix}.nii.gz")
    stored = as_stored(values, session.site.dtype)
    write_image(path, stored, geometry.affine, orientation=protocol.orientation)
    write_json(sidecar_path(path), scan_sidecar(session.site, protocol, geometry))
    if plan.truth:
        write_truth(session.root / "derivatives" / "truth", path, session.head, geometry, field)


def as_stored(values: Float, dtype: str) -> NDArray[np.generic]:
    """Convert an image to the data type of its file; integers are rounded and clipped to their range.

    Args:
        values: Intensities, any shape.
        dtype: Name of a NumPy data type.

    Returns:
        The converted intensities, same shape.

    Examples:
        >>> as_stored(np.array([-2.0, 1.6, 1e6], np.float32), "uint16").tolist()
        [0, 2, 65535]
        >>> as_stored(np.array([1.5], np.float32), "float32").tolist()
        [1.5]
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return values.astype(kind)
    return np.clip(np.round(values), 0, np.iinfo(kind).max).astype(kind)
