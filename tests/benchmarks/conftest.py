import importlib.util
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def load_benchmark():
    """Import a script of ``benchmarks/`` as Python would run it: with its folder on the path."""
    loaded = []

    def load(name):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    sys.path.insert(0, str(BENCHMARKS))
    yield load
    sys.path.remove(str(BENCHMARKS))
    for name in loaded:
        del sys.modules[name]


@pytest.fixture(scope="session")
def write_derivative():
    """Write one derivative, its mask and sidecar, so that ``slope * value + intercept`` is ``volume``."""

    def write(root, subject, site, desc, *, volume, mask, slope, intercept, sequence="T1w"):
        folder = root / f"sub-{subject}" / f"ses-{site}" / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"sub-{subject}_ses-{site}_space-MNI"
        stored = np.where(volume == -1, 0, (volume - intercept) / slope).astype(np.float32)
        name = f"{stem}_desc-{desc}_{sequence}"
        nib.save(nib.Nifti1Image(stored, np.eye(4)), folder / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"{stem}_desc-brain_mask.nii.gz")
        sidecar = {
            "Site": site,
            "Sequence": sequence,
            "BrainMask": f"{stem}_desc-brain_mask.nii.gz",
            "IntensityScaling": {"Slope": slope, "Intercept": intercept},
        }
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
        return name

    return write
