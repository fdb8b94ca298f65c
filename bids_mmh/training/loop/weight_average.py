"""The running average of trained weights, which is what a run saves and what its validation measures."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class WeightAverages(nn.Module):
    """Exponential moving averages of modules, in float32 whatever the modules are trained in.

    Args:
        modules: what is averaged; the averages start as they are now.
        decay: weight of the old average in each update.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        super().__init__()
        self.decay = decay
        copies = {name: copy.deepcopy(module).float().eval() for name, module in modules.items()}
        self.modules_ = nn.ModuleDict(copies).requires_grad_(False)

    def __getitem__(self, name: str) -> nn.Module:
        """The averaged module."""
        return self.modules_[name]

    @torch.no_grad()
    def update(self, modules: Mapping[str, nn.Module]) -> None:
        """Move each average towards its module; what is not a real number (a counter, a flag) is copied."""
        for name, module in modules.items():
            source = module.state_dict()
            for key, value in self.modules_[name].state_dict().items():
                new = source[key]
                if value.is_floating_point():
                    value.lerp_(new.to(value), 1.0 - self.decay)
                else:
                    value.copy_(new)

    def for_validation(self, fabric: "Fabric") -> dict[str, nn.Module]:
        """The averages, called with the precision that training calls its modules with."""
        return {name: _InPrecision(module, fabric) for name, module in self.modules_.items()}


class _InPrecision(nn.Module):
    def __init__(self, module: nn.Module, fabric: "Fabric") -> None:
        super().__init__()
        self.module, self.fabric = module, fabric

    def forward(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        with self.fabric.autocast():
            output = self.module(*arguments, **options)
        if isinstance(output, Tensor):
            return output.float()
        return tuple(None if part is None else part.float() for part in output)
