import logging

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.model_files import model_sha256
from bids_mmh.participant.harmonize import harmonize_file
from bids_mmh.preprocess.grid import model_grid

GRID = model_grid(4.0)


@pytest.fixture
def arguments(tmp_path):
    """A preprocessed scan and a model, as the harmonize node gets them."""
    torch.manual_seed(0)
    Harmonizer(PRESETS["tiny"]).save_pretrained(tmp_path / "model")
    brain = np.zeros(GRID.shape, np.uint8)
    brain[10:26, 10:30, 10:30] = 1
    values = np.random.default_rng(0).uniform(50, 100, GRID.shape).astype(np.float32) * brain
    for name, array in (("scan", values), ("mask", brain)):
        nib.save(nib.Nifti1Image(array, GRID.affine), tmp_path / f"{name}.nii.gz")
    files = {"image": tmp_path / "scan.nii.gz", "mask": tmp_path / "mask.nii.gz", "model": tmp_path / "model"}
    options = {"sequence": "T1w", "device": "cpu", "threads": 1, "out_file": tmp_path / "out.nii.gz"}
    return files | options | {"model_sha256": model_sha256(files["model"])}


def run_out_of_memory(monkeypatch, times):
    """Let the model run out of the memory of a GPU so many times."""
    forward, left = Harmonizer.forward, [times]

    def fails(self, *args, **options):
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, *args, **options)

    monkeypatch.setattr(Harmonizer, "forward", fails)


def test_out_of_gpu_memory_a_scan_is_harmonized_on_the_cpu_and_marked(arguments, monkeypatch, caplog):
    plain = harmonize_file(**arguments)
    assert plain["fallback"] is None
    wanted = np.asarray(nib.load(plain["harmonized"]).dataobj)
    run_out_of_memory(monkeypatch, times=1)
    with caplog.at_level(logging.WARNING):
        made = harmonize_file(**arguments)
    assert made["fallback"] == "the memory of cpu did not suffice"
    assert made["device"] == "cpu"
    assert "is harmonized on the CPU" in caplog.text
    np.testing.assert_array_equal(np.asarray(nib.load(made["harmonized"]).dataobj), wanted)


def test_where_the_cpu_does_not_suffice_either_the_step_fails(arguments, monkeypatch):
    run_out_of_memory(monkeypatch, times=2)
    with pytest.raises(torch.OutOfMemoryError):
        harmonize_file(**arguments)
