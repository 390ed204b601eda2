"""Layers that several models share."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Normalise(nn.Module):
    """(x - mean) / std per channel, as the model's first layer.

    Budgets stay in pixel units of [0, 1].
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


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The layers whose statistics belong to the images that they saw in training."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]


@contextlib.contextmanager
def batch_statistics(model: nn.Module, momentum: float | None) -> Iterator[None]:
    """Each batch normalised by itself, whatever the mode before.

    Args:
        momentum: with which the running statistics follow: 0 leaves them, None makes them the mean
            over the batches to come.
    """
    training, layers = model.training, batch_norms(model)
    before = [layer.momentum for layer in layers]
    model.train()
    for layer in layers:
        layer.momentum = momentum
        if momentum is None:
            layer.num_batches_tracked.zero_()  # the first batch overwrites; what none reaches stays
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.momentum = value
        model.train(training)


def norm_of(kind: str, channels: int) -> nn.Module:
    """Batch normalisation, or "group": group normalisation, which knows no other sample."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(2, channels)


def conv(inputs: int, outputs: int, stride: int, norm: str = "batch") -> nn.Sequential:
    """3x3 convolution, normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        norm_of(norm, outputs),
        nn.ReLU(inplace=True),
    )


class SmallCNN(nn.Module):
    """A CNN for 28x28 and 32x32 images that two CPU cores train in minutes.

    It has four convolutions, averaged.
    """

    def __init__(self, channels: int, width: int, norm: str = "batch") -> None:
        super().__init__()
        self.dim = 4 * width
        self.layers = nn.Sequential(
            conv(channels, width, 2, norm),
            conv(width, 2 * width, 1, norm),
            conv(2 * width, 2 * width, 2, norm),
            conv(2 * width, 4 * width, 1, norm),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Pooled features."""
        return self.layers(x)


class NarrowCNN(nn.Module):
    """About 1.1 million weights for colour images, which one CPU core trains in a day.

    The shape is that of airbench94 (Jordan, arXiv 2404.00498), with channels 32, 128 and 256, a
    plain first layer and an averaged last one, for 32 to 96 pixels.

    Each group of two convolutions is pooled after its first. Images wider than 48 pixels are pooled
    once more, after the first layer.
    """

    def __init__(self, channels: int, side: int, norm: str = "batch") -> None:
        super().__init__()
        widths = (24, 32, 128, 256)
        layers: list[nn.Module] = [conv(channels, widths[0], 1, norm)]
        if side > 48:
            layers.append(nn.MaxPool2d(2))
        for inputs, outputs in itertools.pairwise(widths):
            # pooled before it is normalised, as in airbench94: a quarter of the work
            first = conv(inputs, outputs, 1, norm)
            layers += [first[0], nn.MaxPool2d(2), *first[1:], conv(outputs, outputs, 1, norm)]
        self.dim = widths[-1]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Pooled features."""
        return self.layers(x)


class ResNet(nn.Module):
    """torchvision's ResNet-18 or -34 up to its pooled feature, with a stem for small images.

    The stem is 3x3 in place of the 7x7 one with stride 2, which would leave little of a small image
    (He et al., arXiv 1512.03385, section 4.2; PICA's protocol).

    Images wider than 48 pixels are pooled once after the stem, as in the original.
    """

    def __init__(self, kind: str, channels: int, side: int, norm: str = "batch") -> None:
        super().__init__()
        from torchvision.models import resnet18, resnet34

        make = {"resnet18": resnet18, "resnet34": resnet34}[kind]
        net = make(weights=None, norm_layer=lambda width: norm_of(norm, width))
        self.dim = net.fc.in_features
        pool = [net.maxpool] if side > 48 else []
        stem = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        blocks = (net.layer1, net.layer2, net.layer3, net.layer4)
        self.layers = nn.Sequential(
            stem, net.bn1, net.relu, *pool, *blocks, net.avgpool, nn.Flatten()
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Pooled features."""
        return self.layers(x)


def backbone(
    kind: str, shape: tuple[int, int, int], width: int, norm: str
) -> SmallCNN | NarrowCNN | ResNet:
    """The backbone of this name: "small", "narrow", "resnet18" or "resnet34".

    `width` is for the first.

    Raises:
        ValueError: images too small to be pooled as often as the backbone does.
    """
    if kind == "small":
        return SmallCNN(shape[0], width, norm)
    if kind == "narrow":
        if min(shape[1:]) < 8:
            raise ValueError(
                f"backbone 'narrow': expected images of at least 8 pixels a side, got "
                f"{shape[1]} x {shape[2]}"
            )
        return NarrowCNN(shape[0], max(shape[1:]), norm)
    return ResNet(kind, shape[0], max(shape[1:]), norm)
