"""What a figure was made on: the processor or GPU, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

_INFO = Path("/proc/cpuinfo")


def describe(device: torch.device) -> str:
    """The name of a GPU, or of the processor with what decides how fast it trains.

    That is its cores, and whether it multiplies matrices in bfloat16 (AMX).
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, flags = platform.processor() or platform.machine(), ""
    if _INFO.is_file():
        lines = _INFO.read_text(encoding="utf-8", errors="replace").splitlines()
        fields = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
        name, flags = fields.get("model name") or name, fields.get("flags", "")
    amx = "with AMX" if "amx_bf16" in flags.split() else "without AMX"
    return f"{name}, {os.cpu_count()} cores, {amx}"
