import pytest
import torch
from torch import nn

from bids_mmh.training.engine import Compute, make_fabric


class Difference(nn.Module):
    """Of two inputs that are one in bfloat16, and a product of them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, one, other):
        return one - other, one @ self.weight


@pytest.mark.parametrize(("precision", "rounded"), [("32-true", False), ("bf16-mixed", True)])
def test_autocast_rounds_products_and_nothing_rounds_inputs(precision, rounded):
    fabric = make_fabric(Compute("cpu", precision=precision))
    assert fabric.strategy.precision.precision == precision
    one = torch.full((2, 2), 1.001)
    difference, product = fabric.setup_module(Difference())(one, torch.ones(2, 2))
    assert torch.allclose(difference, torch.tensor(0.001), rtol=1e-3)
    assert bool((product == 2.0).all()) is rounded
    assert product.dtype == torch.float32
