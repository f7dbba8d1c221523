"""The guide's `esrgan` generator: ESRGAN's body under pixel-shuffle heads, for x1 to x8."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from trainer.networks.rrdb import RRDB
from trainer.networks.upsampler import STEPS, ShuffleUpsampler, check_scale

SHRUNK = 0.1  # ESRGAN's factor on He initialisation (Wang et al. 2018, section 3.1)


class ShuffleRRDBNet(ModelMixin, ConfigMixin):
    """RRDBs as in `RRDBNet`, but pixel shuffle instead of nearest upsampling, and x3 and x8 too.

    Its RRDB is ESRGAN's (the guide's framework leaves out the inner residuals). BasicSR has no such network, so use
    `RRDBNet` where released weights or other programs matter.
    """

    scales: ClassVar[tuple[int, ...]] = tuple(STEPS)

    @register_to_config
    def __init__(
        self,
        scale: int = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        n_channels: int = 64,
        n_blocks: int = 23,
        growth_channels: int = 32,
        use_icnr: bool = True,
    ) -> None:
        super().__init__()
        check_scale("ShuffleRRDBNet", scale)
        self.head = nn.Conv2d(num_in_ch, n_channels, 3, 1, 1)
        self.body = nn.Sequential(*(RRDB(n_channels, growth_channels) for _ in range(n_blocks)))
        self.body_tail = nn.Conv2d(n_channels, n_channels, 3, 1, 1)
        self.upsampler = ShuffleUpsampler(scale, n_channels, use_icnr)
        hidden, last = nn.Conv2d(n_channels, n_channels, 3, 1, 1), nn.Conv2d(n_channels, num_out_ch, 3, 1, 1)
        self.tail = nn.Sequential(hidden, nn.LeakyReLU(0.2), last)
        self._shrink(self.head, self.body_tail, hidden, last)

    @staticmethod
    @torch.no_grad()
    def _shrink(*convs: nn.Conv2d) -> None:
        """A small start outside the heads, as the guide's framework has it; the dense blocks shrink themselves."""
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, a=0.2)
            conv.weight.mul_(SHRUNK)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Upscale `x`, float [B, num_in_ch, h, w], to [B, num_out_ch, scale*h, scale*w], not clamped."""
        features = self.head(x)
        features = features + self.body_tail(self.body(features))
        out: Tensor = self.tail(self.upsampler(features))
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffleRRDBNetConfig:
    """ShuffleRRDBNet's sizes under the guide's names; the defaults are the guide's `esrgan`."""

    type: Literal["ShuffleRRDBNet"] = "ShuffleRRDBNet"
    n_channels: int = 64
    """Channels between the blocks."""
    n_blocks: int = 23
    """Number of RRDBs; the guide's 10 m preset has 16."""
    growth_channels: int = 32
    """Channels that each convolution of a dense block adds."""
    use_icnr: bool = True
    """Start each pixel-shuffle head as nearest-neighbour upsampling, which keeps checkerboards away."""

    @property
    def scales(self) -> tuple[int, ...]:
        """What it can upscale by."""
        return ShuffleRRDBNet.scales

    def input_multiple(self, scale: int) -> int:  # noqa: ARG002 - one signature for all generators
        """What the sides of an input must be a multiple of: nothing."""
        return 1

    def build(self, scale: int, bands: int) -> ShuffleRRDBNet:
        """The network for `scale` and `bands` channels in and out; ValueError for a scale it cannot do."""
        return ShuffleRRDBNet(scale, bands, bands, self.n_channels, self.n_blocks, self.growth_channels, self.use_icnr)
