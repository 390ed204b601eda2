"""Layers that several models share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Normalise(nn.Module):
    """(x - mean) / std per channel, as the model's first layer: budgets stay in pixel units of [0,
    1].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((channels, 1, 1), 0.5))
        self.register_buffer("std", torch.full((channels, 1, 1), 0.5))

    def measure(self, x: Tensor) -> None:
        """Take mean and spread from uint8 images (n, c, h, w)."""
        sample = x[:: max(1, len(x) // 10_000)].double() / 255
        self.mean.copy_(sample.mean((0, 2, 3))[:, None, None])
        self.std.copy_(sample.std((0, 2, 3))[:, None, None].clamp_min(1e-3))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Normalised images."""
        return (x - self.mean) / self.std


def conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """3x3 convolution, batch statistics, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class SmallCNN(nn.Module):
    """A CNN for 28x28 and 32x32 images that two CPU cores train in minutes: five convolutions,
    averaged.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.dim = 4 * width
        self.layers = nn.Sequential(
            conv(channels, width, 2),
            conv(width, 2 * width, 1),
            conv(2 * width, 2 * width, 2),
            conv(2 * width, 4 * width, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Pooled features."""
        return self.layers(x)
