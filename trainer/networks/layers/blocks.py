"""The residual blocks of SRResNet. Each maps float [B, C, h, w] to the same shape."""

from typing import Literal

import torch
from torch import Tensor, nn

from trainer.networks.rrdb import ResidualDenseBlock

BlockType = Literal["res", "rcab", "rrdb", "lka"]
REDUCTION = 16  # channels per unit of RCAB's bottleneck


class Scaled(nn.Module):
    """x + res_scale * branch(x): residual scaling (Lim et al. 2017, EDSR, section 3.3) keeps deep stacks steady."""

    def __init__(self, branch: nn.Module, res_scale: float) -> None:
        super().__init__()
        self.branch = branch
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_scale * self.branch(x)


class ChannelAttention(nn.Module):
    """Channel attention (Zhang et al. 2018, RCAN, section 3.3): each channel is weighted by a function of all channels'
    means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // REDUCTION)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, narrow, 1),
            nn.ReLU(),
            nn.Conv2d(narrow, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class LargeKernelAttention(nn.Module):
    """Large-kernel attention (Guo et al. 2022, VAN, fig. 3): depthwise 5x5, 7x7 of dilation 3, then 1x1.

    The gate is a sigmoid, as in the guide's framework; the paper has none.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels, 5, 1, 2, groups=channels),
            nn.Conv2d(channels, channels, 7, 1, 9, dilation=3, groups=channels),
            nn.Conv2d(channels, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def residual_block(kind: BlockType, channels: int, kernel: int, res_scale: float) -> Scaled:
    """One block of SRResNet; `kernel` is the side of its convolutions, except for `rrdb`, which has ESRGAN's 3x3."""
    if kind == "rrdb":
        growth = max(16, channels // 3)  # the guide's
        return Scaled(nn.Sequential(*(ResidualDenseBlock(channels, growth) for _ in range(3))), res_scale)
    first, second = (nn.Conv2d(channels, channels, kernel, 1, kernel // 2) for _ in range(2))
    if kind == "rcab":
        return Scaled(nn.Sequential(first, nn.PReLU(), second, ChannelAttention(channels)), res_scale)
    if kind == "lka":
        return Scaled(nn.Sequential(first, nn.PReLU(), LargeKernelAttention(channels), second), res_scale)
    return Scaled(nn.Sequential(first, nn.PReLU(), second), res_scale)


class NoiseModulation(nn.Module):
    """Scale and shift of each channel from a vector of noise: a two-layer perceptron with SiLU."""

    def __init__(self, noise_dim: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(noise_dim, channels), nn.SiLU(), nn.Linear(channels, 2 * channels))

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """`features`, float [B, C, h, w], modulated by `noise`, float [B, noise_dim]."""
        gamma, beta = self.layers(noise)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(beta, features, 1 + gamma)


class NoiseBlock(nn.Module):
    """A residual block whose first convolution is modulated by noise."""

    def __init__(self, channels: int, kernel: int, noise_dim: int, res_scale: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel, 1, kernel // 2)
        self.modulation = NoiseModulation(noise_dim, channels)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, kernel, 1, kernel // 2)
        self.res_scale = res_scale

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.act(self.modulation(self.conv1(x), noise)))
        return x + self.res_scale * out
