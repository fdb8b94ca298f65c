import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_mmh.method.config import PRESETS
from bids_mmh.training.recipe import Phase, Recipe, model_on_grid

SPACING = 16.0  # mm; the grid is then (9, 12, 12)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(7)


def _write_scan(root, subject, sequence="T1w", *, array=None, mask=None, **sidecar):
    """Write image, mask and sidecar as the participant level does; returns the sidecar's path."""
    folder = root / f"sub-{subject}" / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{subject}_space-MNI152NLin2009cAsym_desc-preproc_{sequence}"
    mask_name = f"sub-{subject}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz"
    if array is None:
        draws = np.random.default_rng(sum(map(ord, subject + sequence)))
        array = draws.uniform(20, 180, (9, 12, 12))
    if mask is None:
        mask = np.zeros(array.shape)
        mask[1:-1, 1:-1, 1:-1] = 1
    nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), folder / f"{stem}.nii.gz")
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), folder / mask_name)
    values = {
        "Sequence": sequence,
        "Site": "alpha",
        "BrainMask": mask_name,
        "IntensityScaling": {"Slope": 0.01, "Intercept": -1.0},
    }
    path = folder / f"{stem}.json"
    path.write_text(json.dumps({**values, **sidecar}))
    return path


@pytest.fixture
def write_scan():
    return _write_scan


@pytest.fixture
def derivatives(tmp_path):
    """Three people, T1w and T2w each, on the grid of 16 mm."""
    root = tmp_path / "derivatives"
    for subject in ("01", "02", "03"):
        for sequence in ("T1w", "T2w"):
            _write_scan(root, subject, sequence)
    return root


@pytest.fixture
def tiny():
    model = replace(PRESETS["tiny"], bins=20)
    return model_on_grid(replace(model, network=replace(model.network, patch=1)), SPACING)


@pytest.fixture
def recipe(tiny):
    """Six steps of two volumes; a checkpoint after three."""
    phase = Phase(SPACING, steps=6, learning_rate=1e-3, accumulate=2)
    return Recipe(model=tiny, phases=(phase,), seed=5, validate_every=3, max_timestep=200)
