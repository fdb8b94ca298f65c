import os

import pytest
import torch

import bids_mmh.training.engine as engine
from bids_mmh.errors import UsageError
from bids_mmh.training.engine import Compute, loader_workers, make_fabric


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_precision_is_what_the_hardware_computes_in(monkeypatch, native, dtype):
    monkeypatch.setattr("bids_mmh.method.precision.has_native_bf16", lambda device: native)
    fabric = make_fabric(Compute("cpu"))
    assert fabric.device == torch.device("cpu")
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_full_precision_where_it_is_asked_for():
    with make_fabric(Compute("cpu", precision="32-true")).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("device", "precision", "sentence"),
    [
        ("tpu", None, "'tpu' is not a device"),
        ("cuda:x", None, "not a device"),
        ("cpu", "bf16-true", "'bf16-true' is not a precision: use 32-true"),
    ],
)
def test_no_such_engine(device, precision, sentence):
    with pytest.raises(UsageError, match=sentence):
        make_fabric(Compute(device, precision=precision))


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for CUDA where there is none")
def test_no_cuda():
    with pytest.raises(UsageError, match="Cannot train on 'cuda'"):
        make_fabric(Compute("cuda"))


@pytest.mark.parametrize(
    ("environment", "launched"),
    [
        ({}, (1, 1)),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, (4, 2)),
        ({"SLURM_NTASKS": "6", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}, (3, 2)),
        ({"SLURM_NTASKS": "6", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "interactive"}, (1, 1)),
    ],
)
def test_a_launcher_says_how_many_processes_there_are(monkeypatch, environment, launched):
    for name in [*os.environ]:
        if name.startswith(("SLURM", "TORCHELASTIC")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert engine._launched() == launched


def test_one_device_by_name_is_one_device():
    with pytest.raises(UsageError, match="'cuda:1' is one device"):
        make_fabric(Compute("cuda:1", devices=2))


def test_readers():
    fabric = make_fabric(Compute("cpu"))
    assert loader_workers(fabric, Compute()) == 0
    assert loader_workers(fabric, Compute(workers=3)) == 3
