import pytest
import torch

from bids_mmh.errors import UsageError
from bids_mmh.participant.harmonize import HarmonizeScan, choose_device
from bids_mmh.runtime.devices import GpuPool, gpus_of


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.setattr("bids_mmh.runtime.devices.driver_is_there", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


@pytest.mark.parametrize(
    ("device", "gpus"), [("auto", (0, 1, 2)), ("cuda", (0, 1, 2)), ("cuda:1", (1,)), ("cpu", ())]
)
def test_gpus_of_an_option(three_gpus, device, gpus):
    assert gpus_of(device) == gpus


def test_the_least_used_gpu_is_lent():
    pool = GpuPool((0, 2))
    assert [pool.lend() for _ in range(3)] == [0, 2, 0]
    pool.give_back(0)
    pool.give_back(0)
    assert [pool.lend() for _ in range(2)] == [0, 0]


def test_without_known_gpus_there_is_the_first():
    assert GpuPool(()).lend() == 0


def test_a_device_must_exist(three_gpus):
    assert choose_device("auto") == "cuda"
    assert choose_device("cuda:2") == "cuda:2"
    with pytest.raises(UsageError, match="the last CUDA device here is cuda:2"):
        choose_device("cuda:3")


def test_a_machine_without_a_driver_has_no_gpu_and_does_not_ask_pytorch(three_gpus, monkeypatch):
    monkeypatch.setattr("bids_mmh.runtime.devices.driver_is_there", lambda: False)
    assert choose_device("auto") == "cpu"
    assert gpus_of("auto") == ()


def test_gpus_of_other_machines_are_not_looked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("cuda", elsewhere=True) == "cuda"
    assert choose_device("auto", elsewhere=True) == "cpu"
    with pytest.raises(UsageError, match="no CUDA device is visible"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("device", "lent", "wanted"),
    [("cuda", 1, "cuda:1"), ("cuda", None, "cuda"), ("cuda:0", 1, "cuda:0"), ("cpu", 1, "cpu")],
)
def test_the_model_runs_on_the_lent_gpu(device, lent, wanted):
    step = HarmonizeScan(device=device)
    if lent is not None:
        step.inputs.gpu = lent
    assert step._device() == wanted


def test_the_lent_gpu_is_no_reason_to_run_again():
    step = HarmonizeScan(device="cuda", sequence="T1w")
    before = step.inputs.get_hashval()
    step.inputs.gpu = 1
    assert step.inputs.get_hashval() == before
