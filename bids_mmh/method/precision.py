"""The precision that a device computes fastest in without losing what matters."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware: most recent GPUs, and CPUs with AMX or AVX512-BF16.

    Where it is emulated it is slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch cannot say
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def fast_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions and products in bfloat16 where the hardware has it, everything else in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_native_bf16(device))


def without_autocast(
    function: Callable[Concatenate[Tensor, P], R],
) -> Callable[Concatenate[Tensor, P], R]:
    """Keep a function of a tensor in the precision of its arguments, whatever autocast it is called under.

    Statistics and filters need it: in bfloat16 the variance within a window is mostly rounding.
    """

    @wraps(function)
    def exact(values: Tensor, *args: P.args, **options: P.kwargs) -> R:
        with torch.autocast(values.device.type, enabled=False):
            return function(values, *args, **options)

    return exact


def precision_name(device: torch.device) -> str:
    """``bf16-mixed`` or ``32-true``: what :func:`fast_autocast` does on a device, for sidecars."""
    return "bf16-mixed" if has_native_bf16(device) else "32-true"
