"""The views: random affine maps and colour changes, drawn per sample, on whatever device holds the
images.

Every random number is a hash of (seed, epoch, view, sample id, draw), so that a sample's view
depends on nothing else: not on the batch it is in, not on its device, not on how many processes
share the work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from clustcore.types import Config, setting


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Config):
    """How far a view may stray from its image. All draws are uniform."""

    rotate: float = setting(12.0, "largest rotation, either way", range=(0, 180), unit="degrees")
    scale: float = setting(0.15, "largest change of size, either way", range=(0, 0.9))
    shift: float = setting(0.08, "largest shift, either way", range=(0, 0.5), unit="of the side")
    shear: float = setting(0.15, "largest shear, either way", range=(0, 1), rare=True)
    flip: float = setting(0.0, "chance of a left-right flip", range=(0, 1))
    contrast: float = setting(0.0, "largest change of contrast and brightness", range=(0, 0.9))
    grey: float = setting(0.0, "chance that a colour image turns grey", range=(0, 1), rare=True)


def uniform(seed: int, epoch: int, view: int, ids: Int64[Tensor, " n"], draws: int) -> Tensor:
    """(n, draws) uniform numbers in [0, 1), a hash of the arguments (the 32-bit finaliser of
    MurmurHash3).
    """
    h = torch.tensor(_mix_int(_mix_int(seed) + epoch * 16 + view), device=ids.device)
    h = _mix((ids[:, None] * 0x9E3779B1 + h) & 0xFFFFFFFF)
    h = _mix((h + torch.arange(draws, device=ids.device) * 0x85EBCA77) & 0xFFFFFFFF)
    return (h >> 8).to(torch.float32) / 2**24


def _mix(h: Tensor) -> Tensor:
    # products wrap at 64 bits, which leaves the low 32 as they should be
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)


def _mix_int(h: int) -> int:
    h &= 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)


def view(
    x: Float[Tensor, "n c h w"],
    ids: Int64[Tensor, " n"],
    config: AugmentConfig,
    *,
    seed: int,
    epoch: int,
    index: int = 0,
) -> Float[Tensor, "n c h w"]:
    """One random view of each image, in [0, 1]. `index` tells the views of one epoch apart."""
    u = uniform(seed, epoch, index, ids, 9)
    signed = 2 * u - 1
    angle = signed[:, 0] * math.radians(config.rotate)
    zoom = 1 + signed[:, 1] * config.scale
    mirror = torch.where(u[:, 2] < config.flip, -1.0, 1.0)
    shear = signed[:, 3] * config.shear
    shift = 2 * signed[:, 4:6] * config.shift  # grid units: the side is 2
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    theta = torch.stack(
        [
            torch.stack([cos * mirror, shear - sin, shift[:, 0]], 1),
            torch.stack([sin * mirror, cos, shift[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    out = F.grid_sample(x, grid, align_corners=False)
    if config.contrast > 0:
        gain = (1 + signed[:, 6] * config.contrast)[:, None, None, None]
        offset = (signed[:, 7] * config.contrast / 2)[:, None, None, None]
        out = ((out - 0.5) * gain + 0.5 + offset).clamp(0, 1)
    if config.grey > 0 and x.shape[1] == 3:
        luma = torch.tensor([0.299, 0.587, 0.114], device=x.device)
        grey = torch.einsum("nchw,c->nhw", out, luma)[:, None].expand_as(out)
        out = torch.where((u[:, 8] < config.grey)[:, None, None, None], grey, out)
    return out
