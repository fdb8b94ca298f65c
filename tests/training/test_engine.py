import pytest
import torch

from bids_mmh.errors import UsageError
from bids_mmh.training.engine import Compute, make_fabric


def test_cpu_is_full_precision():
    fabric = make_fabric(Compute("cpu"))
    assert fabric.device == torch.device("cpu")
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("device", "precision", "sentence"),
    [("tpu", None, "'tpu' is not a device"), ("cuda:x", None, "not a device"), ("cpu", "17-bit", "17-bit")],
)
def test_no_such_engine(device, precision, sentence):
    with pytest.raises(UsageError, match=sentence):
        make_fabric(Compute(device, precision=precision))


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for CUDA where there is none")
def test_no_cuda():
    with pytest.raises(UsageError, match="Cannot train on 'cuda'"):
        make_fabric(Compute("cuda"))
