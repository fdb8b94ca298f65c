"""The precision that a device computes fastest in without losing what matters."""

from contextlib import AbstractContextManager

import torch


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


def precision_name(device: torch.device) -> str:
    """``bf16-mixed`` or ``32-true``: what :func:`fast_autocast` does on a device, for sidecars."""
    return "bf16-mixed" if has_native_bf16(device) else "32-true"
