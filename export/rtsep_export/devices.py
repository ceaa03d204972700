"""Where networks learn, and in which numbers."""

from functools import cache

import torch

CPU = torch.device("cpu")


def best_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_title(device: torch.device) -> str:
    """What a device is, in words: ``a CPU``, or a GPU's name."""
    return "a CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)


def mixed_precision(device: torch.device, *, wanted: bool = True) -> torch.autocast:
    """bfloat16 for products of matrices, where `device` computes in it.

    A processor that has to imitate it takes 25 times as long as with float32.
    """
    enabled = wanted and (device.type != "cpu" or _processor_has_bfloat16())
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


@cache
def _processor_has_bfloat16() -> bool:
    return any(found for name, found in torch.cpu.get_capabilities().items() if "bf16" in name)
