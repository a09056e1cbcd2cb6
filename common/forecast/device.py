"""Which device computes, and whether it computes bfloat16 natively."""

from contextlib import AbstractContextManager, nullcontext

import torch

from common.errors import InputError
from common.forecast.presets import Preset


def choose_device(name: str) -> torch.device:
    """``auto``: CUDA where there is one, else the CPU. Raises InputError for an absent device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"training.device = {name!r}: {reason}") from None
    return device


def native_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 run in hardware there."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(preset: Preset, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 autocast for the presets that want it where it is native; else nothing."""
    if preset.bfloat16 and native_bfloat16(device):
        # A forward pass uses each weight once: keeping its cast would only cost memory.
        return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)
    return nullcontext()
