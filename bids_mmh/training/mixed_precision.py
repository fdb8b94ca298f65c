"""Mixed precision that leaves inputs as they are."""

from typing import Any

from lightning_fabric.plugins.precision import MixedPrecision


class InputsAsTheyAre(MixedPrecision):
    """Autocast as Fabric does it, without its rounding of every module's inputs.

    Autocast itself rounds where that is harmless, as it does at inference. A style vector is a small
    difference of slice embeddings: rounded to bfloat16 they would leave little of it.
    """

    def convert_input(self, data: Any) -> Any:  # noqa: ANN401
        """``data`` unchanged."""
        return data
