"""The running average of trained weights, which is what a run saves and what its validation measures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class WeightAverages(nn.Module):
    """Exponential moving averages of modules, in float32 whatever the modules are trained in.

    Buffers are not averaged but copied.

    Args:
        modules: what is averaged; the averages start as they are now.
        decay: weight of the old average in each update.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        super().__init__()

        def towards(average: Tensor, weights: Tensor, _: Tensor | int) -> Tensor:
            return average.lerp(weights.to(average), 1.0 - decay)

        averages = {name: AveragedModel(module, avg_fn=towards) for name, module in modules.items()}
        for one in averages.values():
            one.n_averaged.fill_(1)  # the start counts: else the first update would replace it
        self.averages = nn.ModuleDict(averages).float().eval().requires_grad_(False)

    def __getitem__(self, name: str) -> nn.Module:
        """The averaged module."""
        return cast(AveragedModel, self.averages[name]).module

    @torch.no_grad()
    def update(self, modules: Mapping[str, nn.Module]) -> None:
        """Move each average towards its module."""
        for name, module in modules.items():
            cast(AveragedModel, self.averages[name]).update_parameters(module)

    def for_validation(self, fabric: "Fabric") -> dict[str, nn.Module]:
        """The averages, called with the precision that training calls its modules with."""
        return {name: _InPrecision(module, fabric) for name, module in self.averages.items()}


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
