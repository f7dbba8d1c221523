"""RRDBNet, ESRGAN's generator, under BasicSR's state-dict names: released files load, exports open everywhere."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from trainer.networks.layers.sizes import check_sizes
from trainer.networks.network import Network

LEAK = 0.2  # negative slope of every LeakyReLU in ESRGAN


class ResidualDenseBlock(nn.Module):
    """Five densely connected 3x3 convolutions and a residual scaled by 0.2 (Wang et al. 2018, ESRGAN, fig. 4)."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_grow_ch, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat + num_grow_ch, num_grow_ch, 3, 1, 1)
        self.conv3 = nn.Conv2d(num_feat + 2 * num_grow_ch, num_grow_ch, 3, 1, 1)
        self.conv4 = nn.Conv2d(num_feat + 3 * num_grow_ch, num_grow_ch, 3, 1, 1)
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, 1, 1)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(0.1)  # ESRGAN's smaller initialisation: the block starts close to the identity
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x1 = F.leaky_relu(self.conv1(x), LEAK)
        x2 = F.leaky_relu(self.conv2(torch.cat((x, x1), 1)), LEAK)
        x3 = F.leaky_relu(self.conv3(torch.cat((x, x1, x2), 1)), LEAK)
        x4 = F.leaky_relu(self.conv4(torch.cat((x, x1, x2, x3), 1)), LEAK)
        x5 = self.conv5(torch.cat((x, x1, x2, x3, x4), 1))
        return x5 * 0.2 + x


class RRDB(nn.Module):
    """Three dense blocks in a residual scaled by 0.2."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return out * 0.2 + x


class RRDBNet(Network):
    """ESRGAN's generator as Real-ESRGAN uses it (BasicSR `rrdbnet_arch.py`): x4, and x2 or x1 behind a pixel-unshuffle.

    The sides of an x2 input must be divisible by 2, those of an x1 input by 4; a ValueError says so.
    """

    scales: ClassVar[tuple[int, ...]] = (1, 2, 4)
    ends = ("conv_first.", "conv_last.")
    _repeated_blocks: ClassVar[list[str]] = ["RRDB"]  # diffusers' name for what is compiled once for them all

    @register_to_config
    def __init__(
        self,
        scale: int = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
    ) -> None:
        super().__init__()
        if scale not in self.scales:
            raise ValueError(f"RRDBNet upscales by 1, 2 or 4, not by {scale}")
        self.unshuffle = 4 // scale
        self.conv_first = nn.Conv2d(num_in_ch * self.unshuffle**2, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale `x`, float [B, num_in_ch, h, w] in [0, 1], to [B, num_out_ch, scale*h, scale*w], not clamped."""
        if self.unshuffle > 1:
            if x.shape[-2] % self.unshuffle or x.shape[-1] % self.unshuffle:
                size, scale = "x".join(map(str, x.shape[-2:])), 4 // self.unshuffle
                raise ValueError(f"an input of {size} does not divide by {self.unshuffle}, as RRDBNet x{scale} needs")
            x = F.pixel_unshuffle(x, self.unshuffle)
        features = self.conv_first(x)
        return self.behind(features, self.body(features))

    def behind(self, features: Tensor, deep: Tensor) -> Tensor:
        """What follows the blocks, from their input and their result, both float [B, num_feat, h, w]."""
        features = features + self.conv_body(deep)
        features = F.leaky_relu(self.conv_up1(F.interpolate(features, scale_factor=2, mode="nearest")), LEAK)
        features = F.leaky_relu(self.conv_up2(F.interpolate(features, scale_factor=2, mode="nearest")), LEAK)
        out: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(features), LEAK))
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class RRDBNetConfig:
    """RRDBNet's sizes; the defaults are RealESRGAN_x4plus (16.7 M parameters)."""

    type: Literal["RRDBNet"] = "RRDBNet"
    num_feat: int = 64
    """Channels between the blocks."""
    num_block: int = 23
    """Number of RRDBs; the anime model has 6."""
    num_grow_ch: int = 32
    """Channels that each convolution of a dense block adds; spandrel and its users can read 32 only."""

    def __post_init__(self) -> None:
        check_sizes(self, num_feat=1, num_block=1, num_grow_ch=1)

    @property
    def scales(self) -> tuple[int, ...]:
        """The supported scales."""
        return RRDBNet.scales

    def input_multiple(self, scale: int) -> int:
        """The number of which the sides of an input must be multiples: x2 and x1 begin with a pixel-unshuffle."""
        return 4 // scale

    def build(self, scale: int, bands: int) -> RRDBNet:
        """The network for `scale` and `bands` channels in and out; ValueError for a scale it cannot do."""
        sizes: dict[str, Any] = {k: getattr(self, k) for k in ("num_feat", "num_block", "num_grow_ch")}
        return RRDBNet(scale=scale, num_in_ch=bands, num_out_ch=bands, **sizes)
