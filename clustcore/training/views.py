"""The views: random affine maps and colour changes, drawn per sample where the images are.

Every random number is a hash of (seed, epoch, view, sample id, draw), so that a sample's view
depends on nothing else: not on the batch it is in, not on its device, not on how many processes
share the work.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from clustcore.config import Config, setting


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
    crop: float = setting(
        0.0, "least share of the area that a random crop keeps (0: no crop)", range=(0, 1)
    )
    jitter: float = setting(
        0.0,
        "largest change of a colour image's brightness, contrast and saturation, each",
        range=(0, 0.9),
    )
    hue: float = setting(
        0.0, "largest turn of the hue, either way", range=(0, 0.5), unit="turns", rare=True
    )
    jitter_chance: float = setting(
        1.0, "chance that jitter and hue change an image at all", range=(0, 1), rare=True
    )
    cutout: float = setting(
        0.0,
        "side of a square that is hidden, as a share of the image's side (0: none)",
        range=(0, 1),
        rare=True,
    )
    border: bool = setting(
        False, "beyond its edge an image goes on as it ends; off: it is black there", rare=True
    )


def uniform(seed: int, epoch: int, view: int, ids: Int64[Tensor, " n"], draws: int) -> Tensor:
    """(n, draws) uniform numbers in [0, 1): a hash of the arguments.

    It is the 32-bit finaliser of MurmurHash3.

    Examples:
        >>> u = uniform(seed=0, epoch=0, view=0, ids=torch.arange(3), draws=2)
        >>> u.shape, bool((u >= 0).all() and (u < 1).all())
        (torch.Size([3, 2]), True)
        >>> alone = uniform(seed=0, epoch=0, view=0, ids=torch.tensor([2]), draws=2)
        >>> bool((u[2] == alone[0]).all())  # a sample's draws are its own
        True
    """
    h = _mix_int(_mix_int(seed) + epoch * 16 + view)
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
    scale: float = 1.0,
) -> Float[Tensor, "n c v u"]:
    """One random view of each image, in [0, 1].

    One resampling and, for colours, one 3x3 matrix an image.

    Args:
        x: the images, in [0, 1].
        ids: one number per image, that its random draws belong to.
        config: how far a view may stray.
        seed: of the draws.
        epoch: gives other draws each time.
        index: tells the views of one epoch apart.
        scale: of the view's sides: smaller views are learned from faster.

    Examples:
        >>> x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> first = view(x, torch.arange(3), AugmentConfig(), seed=0, epoch=0)
        >>> second = view(x, torch.arange(3), AugmentConfig(), seed=0, epoch=0, index=1)
        >>> first.shape, bool((first != second).any())
        (torch.Size([3, 1, 8, 8]), True)
        >>> still = AugmentConfig(rotate=0.0, scale=0.0, shift=0.0, shear=0.0)
        >>> torch.allclose(view(x, torch.arange(3), still, seed=0, epoch=0), x, atol=1e-5)
        True
    """
    u = uniform(seed, epoch, index, ids, 19)
    theta = _affine(u, config)
    if config.crop > 0:
        theta = _cropped(theta, u, config.crop)
    sides = [max(1, round(scale * side)) for side in x.shape[2:]]
    grid = F.affine_grid(theta, [*x.shape[:2], *sides], align_corners=False)
    padding = "border" if config.border else "zeros"
    out = F.grid_sample(x, grid, padding_mode=padding, align_corners=False)
    if config.contrast > 0:
        signed = 2 * u - 1
        gain = (1 + signed[:, 6] * config.contrast)[:, None, None, None]
        offset = (signed[:, 7] * config.contrast / 2)[:, None, None, None]
        out = ((out - 0.5) * gain + 0.5 + offset).clamp(0, 1)
    if x.shape[1] == 3 and (config.grey > 0 or config.jitter > 0 or config.hue > 0):
        out = _coloured(out, u, config)
    return _hidden(out, u, config.cutout) if config.cutout > 0 else out


def _affine(u: Tensor, config: AugmentConfig) -> Float[Tensor, "n 2 3"]:
    signed = 2 * u - 1
    angle = signed[:, 0] * math.radians(config.rotate)
    zoom = 1 + signed[:, 1] * config.scale
    mirror = torch.where(u[:, 2] < config.flip, -1.0, 1.0)
    shear = signed[:, 3] * config.shear
    shift = 2 * signed[:, 4:6] * config.shift  # grid units: the side is 2
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    return torch.stack(
        [
            torch.stack([cos * mirror, shear - sin, shift[:, 0]], 1),
            torch.stack([sin * mirror, cos, shift[:, 1]], 1),
        ],
        1,
    )


def _cropped(theta: Tensor, u: Tensor, least: float) -> Float[Tensor, "n 2 3"]:
    # RandomResizedCrop: area uniform, aspect log-uniform from 3/4 to 4/3, place uniform within the
    # image; the crop comes first, then the affine map
    area = least + (1 - least) * u[:, 9]
    aspect = torch.exp((2 * u[:, 10] - 1) * math.log(4 / 3))
    size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).clamp_max(1)
    place = (2 * u[:, 11:13] - 1) * (1 - size)
    linear, shift = theta[:, :, :2], theta[:, :, 2:]
    return torch.cat([linear * size[:, None], linear @ place[:, :, None] + shift], 2)


def _coloured(x: Tensor, u: Tensor, config: AugmentConfig) -> Float[Tensor, "n c h w"]:
    """Brightness, contrast, saturation, hue and grey as one matrix and one offset an image.

    Contrast stretches about the image's mean luma, saturation about each pixel's; the hue turns
    about the grey axis; what leaves [0, 1] is cut once, at the end, where torchvision's ColorJitter
    cuts after each step.
    """
    grey_of, eye = _constant("grey", x.device), torch.eye(3, device=x.device)
    changed = (u[:, 16] < config.jitter_chance).float()
    gains = 1 + (2 * u[:, 13:16] - 1) * config.jitter * changed[:, None]
    bright, contrast = gains[:, 0], gains[:, 1]
    saturation = torch.where(u[:, 8] < config.grey, 0.0, gains[:, 2])[:, None, None]
    matrix = saturation * eye + (1 - saturation) * grey_of
    if config.hue > 0:
        matrix = matrix @ _turned(2 * math.pi * config.hue * (2 * u[:, 7] - 1) * changed)
    mean = torch.einsum("nchw,c->n", x, grey_of[0]) / (x.shape[2] * x.shape[3])
    offset = bright * (1 - contrast) * mean
    matrix = (bright * contrast)[:, None, None] * matrix
    return (matrix @ x.flatten(2) + offset[:, None, None]).clamp(0, 1).view_as(x)


def _hidden(x: Tensor, u: Tensor, share: float) -> Float[Tensor, "n c h w"]:
    """A grey square in each image, its middle anywhere.

    Part of it may lie outside (DeVries and Taylor, arXiv 1708.04552, where it is black; mid-grey is
    nearer to the mean).
    """
    h, w = x.shape[2:]
    rows, columns = (
        (torch.arange(side, device=x.device) + 0.5) / side - u[:, 17 + axis, None]
        for axis, side in ((0, h), (1, w))
    )
    inside = (rows.abs() < share / 2)[:, None, :, None] & (columns.abs() < share / 2)[:, None, None]
    return torch.where(inside, 0.5, x)


def _turned(angle: Tensor) -> Float[Tensor, "n 3 3"]:
    # Rodrigues' rotation about (1, 1, 1) / sqrt 3: greys stay, hues turn
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None] / math.sqrt(3)
    eye = torch.eye(3, device=angle.device)
    return cos * eye + sin * _constant("cross", angle.device) + (1 - cos) / 3


@functools.cache
def _constant(name: str, device: torch.device) -> Tensor:
    # kept: bringing numbers to a GPU waits for it
    rows = {"grey": [[0.299, 0.587, 0.114]] * 3, "cross": [[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]}
    return torch.tensor(rows[name], device=device)
