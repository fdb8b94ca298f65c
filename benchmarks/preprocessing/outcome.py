"""Run the preprocessing of one session for ``preprocessing.py`` and find what it left."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_mmh.errors import BidsMmhError
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.options import PreprocessOptions
from bids_mmh.preprocess.template import NILEARN_SPACE, find_template
from bids_mmh.preprocess.transforms import read_transform, to_matrix
from bids_mmh.preprocess.workflow import ScanSpec, build_session_workflow


@dataclass(frozen=True)
class Outcome:
    """What preprocessing made of one scan.

    Attributes:
        raw: the scan.
        folder: of the last step.
        qc: figures, warnings and seconds by step.
    """

    raw: Path
    folder: Path
    qc: Mapping[str, Any]

    def image(self, name: str) -> NDArray[np.float32]:
        """Voxels of ``native_preproc``, ``native_mask``, ``mni_preproc`` or ``mni_mask``."""
        return voxels(self.folder / f"{name}.nii.gz")

    @property
    def from_template(self) -> NDArray[np.float64]:
        """4 x 4 matrix from points of the template to points of the scan, LPS mm."""
        return to_matrix(read_transform(self.folder / "to_mni_xfm.txt"))


def voxels(path: Path) -> NDArray[np.float32]:
    """Voxels of a NIfTI file."""
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj, dtype=np.float32)


def preprocess(name: str, scans: Mapping[str, Path], work: Path) -> dict[str, Outcome]:
    """Preprocess a session as the program does, at 1 mm, on one thread.

    Args:
        name: of the session.
        scans: raw files by suffix.
        work: folder for what the steps leave; what is there already is not made again.

    Raises:
        BidsMmhError: the session cannot be used.
    """
    logging.getLogger("nipype").setLevel(logging.CRITICAL)
    graph = build_session_workflow(
        name,
        [ScanSpec(suffix.lower(), suffix, path) for suffix, path in scans.items()],
        template=find_template(NILEARN_SPACE, work),
        grid=model_grid(1.0),
        options=PreprocessOptions(),
    )
    graph.base_dir = str(work)
    graph.config["execution"] = {
        "crashdump_dir": str(work / "crash"),
        "create_report": "false",
        "check_version": "false",
        "stop_on_first_crash": "true",
    }
    try:
        graph.run("Linear")
    except Exception as error:
        raise BidsMmhError(_reason(error)) from error
    folders = {suffix: work / name / f"finish_{suffix.lower()}" for suffix in scans}
    return {
        suffix: Outcome(scans[suffix], folder, json.loads((folder / "qc.json").read_text(encoding="utf-8")))
        for suffix, folder in folders.items()
    }


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "Error: " in line]
    return lines[-1].partition("Error: ")[2] if lines else str(error).strip().splitlines()[-1]
