"""The guide's `esrgan` generator: ESRGAN's body under pixel-shuffle heads, for x1 to x8."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from trainer.networks.layers.sizes import check_sizes
from trainer.networks.layers.upsampler import ShuffleGenerator, ShuffleGeneratorConfig
from trainer.networks.rrdb import LEAK, RRDB

SHRUNK = 0.1  # ESRGAN's factor on He initialisation (Wang et al. 2018, section 3.1)


@torch.no_grad()
def small_conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A convolution that starts small, as the guide's framework has it outside the heads."""
    conv = nn.Conv2d(channels_in, channels_out, 3, 1, 1)
    nn.init.kaiming_normal_(conv.weight, a=LEAK)
    conv.weight.mul_(SHRUNK)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class ShuffleRRDBNet(ShuffleGenerator):
    """RRDBs as in `RRDBNet`, but pixel shuffle instead of nearest upsampling, and x3 and x8 too.

    Its RRDB is ESRGAN's (the guide's framework leaves out the inner residuals). BasicSR has no such network, so use
    `RRDBNet` where released weights or other programs matter.
    """

    _repeated_blocks: ClassVar[list[str]] = ["RRDB"]

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
        super().__init__(
            scale,
            head=small_conv(num_in_ch, n_channels),
            blocks=(RRDB(n_channels, growth_channels) for _ in range(n_blocks)),
            body_tail=small_conv(n_channels, n_channels),
            tail=nn.Sequential(
                small_conv(n_channels, n_channels), nn.LeakyReLU(LEAK), small_conv(n_channels, num_out_ch)
            ),
            n_channels=n_channels,
            use_icnr=use_icnr,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffleRRDBNetConfig(ShuffleGeneratorConfig):
    """ShuffleRRDBNet's sizes; the defaults are the guide's `esrgan`."""

    type: Literal["ShuffleRRDBNet"] = "ShuffleRRDBNet"
    n_blocks: int = 23
    """Number of RRDBs; the guide's 10 m preset has 16."""
    growth_channels: int = 32
    """Channels that each convolution of a dense block adds."""

    def __post_init__(self) -> None:
        ShuffleGeneratorConfig.__post_init__(self)
        check_sizes(self, growth_channels=1)

    def build(self, scale: int, bands: int) -> ShuffleRRDBNet:
        """The network for `scale` and `bands` channels in and out; ValueError for a scale it cannot do."""
        return ShuffleRRDBNet(scale, **self.arguments(bands))
