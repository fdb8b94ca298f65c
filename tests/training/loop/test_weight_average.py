import pytest
import torch
from torch import nn

from bids_mmh.training.engine import Compute, make_fabric
from bids_mmh.training.loop.weight_average import WeightAverages


class Counted(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        return self.weight * x


def test_moves_towards_the_modules_by_the_decay():
    module = Counted(1.0)
    averages = WeightAverages({"a": module}, decay=0.75)
    module.weight.data.fill_(3.0)
    module.count.fill_(7)
    averages.update({"a": module})
    assert averages["a"].weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert averages["a"].count.item() == 7
    assert module.weight.item() == 3.0
    assert not averages["a"].weight.requires_grad


def test_is_kept_in_full_precision():
    module = Counted(1.0).to(torch.bfloat16)
    averages = WeightAverages({"a": module}, decay=0.999)
    module.weight.data.fill_(2.0)
    averages.update({"a": module})
    assert averages["a"].weight.item() == pytest.approx(1.001)  # in bf16 it would still be 1


def test_validates_in_the_precision_of_training():
    averages = WeightAverages({"a": nn.Linear(4, 4)}, decay=0.9)
    fabric = make_fabric(Compute("cpu", precision="bf16-mixed"))
    x = torch.rand(2, 4)
    output = averages.for_validation(fabric)["a"](x)
    assert output.dtype == torch.float32
    assert torch.equal(output, output.bfloat16().float())
    assert not torch.equal(output, averages["a"](x))
