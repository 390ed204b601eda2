"""What a figure was made on: the processor or GPU, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_INFO = Path("/proc/cpuinfo")


def describe(device: torch.device) -> str:
    """The name of a GPU, or of the processor with what decides how fast it trains.

    That is its cores, and whether it multiplies matrices in bfloat16 (AMX).
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    amx = "with AMX" if "amx_bf16" in _facts().get("flags", "").split() else "without AMX"
    return f"{processor()}, {os.cpu_count()} cores, {amx}"


def processor() -> str:
    """The name of the processor."""
    return _facts().get("model name") or platform.processor() or platform.machine()


def _facts() -> dict[str, str]:
    if not _INFO.is_file():
        return {}
    lines = _INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    return {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
