"""What the training loop needs of a stage: modules, training items, and the loss of an item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from bids_mmh.training.data.loader import Items


class Validation(Protocol):
    """Items to validate on, always all of them in this order."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...  # noqa: ANN401


@dataclass(frozen=True)
class PhaseData:
    """Items of one phase. Every item has ``to(device)``."""

    train: Items
    validation: Validation


class Task(Protocol):
    """What a loop trains.

    Attributes:
        terms: names of the losses beside ``total``.
        modules: what is trained, by name. The loop takes them over: devices, gradients, averages.
    """

    terms: Sequence[str]
    modules: Mapping[str, nn.Module]

    def data(self, phase: int) -> PhaseData:
        """Make ready for a phase and return its items. Every process calls it, also when resuming."""

    def losses(
        self,
        modules: Mapping[str, nn.Module],
        item: Any,  # noqa: ANN401
        seed: int,
    ) -> tuple[Mapping[str, Tensor], Sequence[Any]]:
        """Losses of an item on the device, ``total`` and each term a scalar; and what was observed.

        Args:
            modules: to be called instead of the task's own: in training as the engine wraps them, in
                validation their averages.
            item: from :meth:`data`, on the device.
            seed: of every random draw.

        Returns:
            The losses, and observations for :meth:`after_step` (picklable, tensors on the CPU). Nothing but
            the autograd graph may change.
        """

    def after_step(self, observed: Sequence[Any]) -> None:
        """Take note of what all parts of an optimizer step observed, in their order, on every process."""

    def state_dict(self) -> dict[str, Any]:
        """What the task must remember beside its modules: tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore what :meth:`state_dict` returned."""
