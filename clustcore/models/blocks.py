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

    Examples:
        >>> normalise = Normalise(channels=1)
        >>> x = torch.tensor([0, 255], dtype=torch.uint8).repeat(100).view(-1, 1, 1, 1)
        >>> normalise.measure(x)
        >>> black, white = normalise(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)).flatten().tolist()
        >>> round(black, 1), round(white, 1)
        (-1.0, 1.0)
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
    """The layers whose statistics belong to the images that they saw in training.

    Examples:
        >>> len(batch_norms(SmallCNN(1, 2))), len(batch_norms(SmallCNN(1, 2, norm="group")))
        (4, 0)
    """
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]


@contextlib.contextmanager
def batch_statistics(model: nn.Module, momentum: float | None) -> Iterator[None]:
    """Each batch normalised by itself, whatever the mode before.

    Args:
        momentum: with which the running statistics follow: 0 leaves them, None makes them the mean
            over the batches to come.

    Examples:
        >>> norm = nn.BatchNorm1d(1).eval()
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> norm(x).flatten().round(decimals=2).tolist()  # by its running statistics
        [0.0, 2.0]
        >>> with batch_statistics(norm, momentum=0.0):
        ...     norm(x).flatten().round(decimals=2).tolist()
        [-1.0, 1.0]
        >>> norm.training, norm.running_mean.item()
        (False, 0.0)
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
    """Batch normalisation, or "group": group normalisation, which knows no other sample.

    Examples:
        >>> type(norm_of("batch", 8)).__name__, type(norm_of("group", 8)).__name__
        ('BatchNorm2d', 'GroupNorm')
    """
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(2, channels)


def conv(inputs: int, outputs: int, stride: int, norm: str = "batch") -> nn.Sequential:
    """3x3 convolution, normalisation, ReLU.

    Examples:
        >>> conv(1, 4, stride=2)(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 4, 4, 4])
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        norm_of(norm, outputs),
        nn.ReLU(inplace=True),
    )


class SmallCNN(nn.Module):
    """A CNN for 28x28 and 32x32 images that two CPU cores train in minutes.

    It has four convolutions, averaged.

    Examples:
        >>> net = SmallCNN(channels=1, width=16)
        >>> net.dim, net(torch.zeros(2, 1, 28, 28)).shape
        (64, torch.Size([2, 64]))
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

    Examples:
        >>> net = NarrowCNN(channels=3, side=32)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 256])
        >>> round(sum(p.numel() for p in net.parameters()) / 1e6, 1)  # millions of weights
        1.1
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

    Examples:
        >>> net = ResNet("resnet18", channels=3, side=32)
        >>> net.dim, net(torch.zeros(2, 3, 32, 32)).shape
        (512, torch.Size([2, 512]))
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

    Examples:
        >>> backbone("small", (1, 28, 28), width=8, norm="batch").dim
        32
        >>> backbone("narrow", (3, 4, 4), width=8, norm="batch")
        Traceback (most recent call last):
        ValueError: backbone 'narrow': expected images of at least 8 pixels a side, got 4 x 4
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
