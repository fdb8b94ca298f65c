"""Raw data and a model for whole runs of the program."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture(scope="session")
def strip():
    """Leave little more than the brain of a scan, so that no network has to find it."""

    def strip(path: Path) -> None:
        image = nib.load(path)
        values = image.get_fdata()
        indices = np.moveaxis(np.indices(values.shape), 0, -1)
        middle = np.average(indices.reshape(-1, 3), axis=0, weights=values.ravel())
        values[np.linalg.norm((indices - middle) * image.header.get_zooms(), axis=-1) > 65] = 0
        nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), path)

    return strip


@pytest.fixture(scope="session")
def write_raw(phantom):
    """Write a dataset without sessions, whose participants are visits of the phantom's subjects."""

    def write(
        raw: Path, visits: dict[str, tuple[str, str]], sequences: Sequence[str] = ("T1w", "T2w")
    ) -> Path:
        raw.mkdir(parents=True)
        for name in ("dataset_description.json", "README"):
            shutil.copy(phantom / name, raw)
        rows = [f"sub-{label}\t{site}\n" for label, (_, site) in visits.items()]
        (raw / "participants.tsv").write_text("participant_id\tsite\n" + "".join(rows))
        for label, (subject, site) in visits.items():
            anat = raw / f"sub-{label}" / "anat"
            anat.mkdir(parents=True)
            stem = f"sub-{subject}_ses-{site}"
            source = phantom / f"sub-{subject}" / f"ses-{site}" / "anat"
            for path in (path for sequence in sequences for path in source.glob(f"{stem}_{sequence}.*")):
                shutil.copy(path, anat / path.name.replace(stem, f"sub-{label}"))
        return raw

    return write


@pytest.fixture(scope="session")
def write_stripped(write_raw, strip):
    """The same with a T1w alone, of which a ball is left: no step of it takes long."""

    def write(raw: Path, visits: dict[str, tuple[str, str]]) -> Path:
        write_raw(raw, visits, sequences=["T1w"])
        for path in raw.glob("sub-*/anat/*.nii.gz"):
            strip(path)
        return raw

    return write


@pytest.fixture(scope="session")
def random_model():
    """Save a tiny model with random weights; returns its folder."""

    def save(folder: Path, seed: int) -> Path:
        import torch

        from bids_mmh.method.config import PRESETS
        from bids_mmh.method.harmonizer import Harmonizer

        torch.manual_seed(seed)
        model = Harmonizer(PRESETS["tiny"])
        for weights in model.network.parameters():
            torch.nn.init.normal_(weights, std=0.02)
        model.save_pretrained(folder)
        return folder

    return save
