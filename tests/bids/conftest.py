"""Skeleton datasets: real names, tiny images."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


class Skeleton:
    """A raw dataset that grows file by file."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir(parents=True)
        self.write("dataset_description.json", {"Name": "Skeleton", "BIDSVersion": "1.10.0"})
        self.write("README", "A dataset made by a test, long enough for the validator to be content with it.")

    def scan(self, name: str, sidecar: dict | None = None) -> Path:
        """Add ``sub-X[_ses-Y]_..._suffix.nii[.gz]`` and, if given, its sidecar."""
        parts = dict(part.split("-", 1) for part in name.split("_")[:-1])
        folder = self.root / f"sub-{parts['sub']}"
        folder = folder / f"ses-{parts['ses']}" / "anat" if "ses" in parts else folder / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), folder / name)
        if sidecar is not None:
            (folder / name).with_name(f"{name.partition('.')[0]}.json").write_text(json.dumps(sidecar))
        return folder / name

    def write(self, path: str, content: str | dict) -> Path:
        """Add a text or JSON file."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content if isinstance(content, str) else json.dumps(content))
        return target


@pytest.fixture
def skeleton(tmp_path: Path) -> Skeleton:
    return Skeleton(tmp_path / "raw")
