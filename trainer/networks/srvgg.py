"""SRVGGNetCompact: Real-ESRGAN's small generator, all of whose work is done at the low resolution."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from trainer.networks.layers.icnr import icnr_
from trainer.networks.layers.sizes import check_sizes
from trainer.networks.network import Network

InitScheme = Literal["torch", "icnr", "residual"]
ActType = Literal["prelu", "relu", "leakyrelu"]
SLOPES = {"prelu": 0.25, "relu": 0.0, "leakyrelu": 0.1}  # for PReLU the initial one


class SRVGGNetCompact(Network):
    """A plain stack of 3x3 convolutions and PReLUs, a pixel shuffle, and the nearest-upsampled input added to it
    (Real-ESRGAN `srvgg_arch.py`, state-dict names included).

    Parameters
    ----------
    scale : 1, 2, 3, 4 or 8
    act_type : `prelu` is what all released networks have; `leakyrelu` has slope 0.1
    init : `torch` is upstream's: convolutions as PyTorch makes them, which lose two thirds of the variance at each
        layer and start slowly. `icnr` is the same but for the last, the pixel-shuffle head, which starts without a
        checkerboard. `residual` is He et al. 2015 for the activations, and zeros in the head, so that training starts
        from the nearest-upsampled input, which has none either.
    """

    scales: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 8)

    @register_to_config
    def __init__(
        self,
        scale: int = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_conv: int = 16,
        act_type: ActType = "prelu",
        init: InitScheme = "torch",
    ) -> None:
        super().__init__()
        if scale not in self.scales:
            raise ValueError(f"SRVGGNetCompact upscales by {', '.join(map(str, self.scales))}, not by {scale}")
        if act_type not in SLOPES:
            raise ValueError(f"act_type: got {act_type!r}; must be {', '.join(SLOPES)}")
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 3, 1, 1), _activation(act_type, num_feat)]
        for _ in range(num_conv):
            layers += [nn.Conv2d(num_feat, num_feat, 3, 1, 1), _activation(act_type, num_feat)]
        layers.append(head := nn.Conv2d(num_feat, num_out_ch * scale**2, 3, 1, 1))
        self.body = nn.ModuleList(layers)
        self.ends = ("body.0.", f"body.{len(layers) - 1}.")
        if init == "residual":
            self._start_at_the_input(SLOPES[act_type])
        elif init == "icnr":
            icnr_(head, scale)

    def _start_at_the_input(self, slope: float) -> None:
        *hidden, last = (layer for layer in self.body if isinstance(layer, nn.Conv2d))
        for conv in hidden:
            nn.init.kaiming_normal_(conv.weight, a=slope, nonlinearity="leaky_relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Upscale `x`, float [B, num_in_ch, h, w] in [0, 1], to [B, num_out_ch, scale*h, scale*w], not clamped."""
        out = x
        for layer in self.body:
            out = layer(out)
        return F.pixel_shuffle(out, self.scale) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


def _activation(act_type: ActType, num_feat: int) -> nn.Module:
    if act_type == "prelu":
        return nn.PReLU(num_feat)
    return nn.LeakyReLU(SLOPES[act_type])  # of slope 0 for ReLU


@dataclass(frozen=True, kw_only=True, slots=True)
class SRVGGNetCompactConfig:
    """SRVGGNetCompact's sizes; the defaults are realesr-animevideov3 (0.6 M parameters)."""

    type: Literal["SRVGGNetCompact"] = "SRVGGNetCompact"
    num_feat: int = 64
    """Channels of every layer."""
    num_conv: int = 16
    """Convolutions between the first and the last; realesr-general-x4v3 has 32."""
    act_type: ActType = "prelu"
    """Activation after every convolution but the last."""
    init: InitScheme = "residual"
    """`residual` starts from the nearest-upsampled input; `torch` starts as upstream does and learns more slowly at
    first; so does `icnr`, but without a checkerboard."""

    def __post_init__(self) -> None:
        check_sizes(self, num_feat=1, num_conv=0)

    @property
    def scales(self) -> tuple[int, ...]:
        """The supported scales."""
        return SRVGGNetCompact.scales

    def input_multiple(self, scale: int) -> int:  # noqa: ARG002 - one signature for all generators
        """The number of which the sides of an input must be multiples: 1, so any size will do."""
        return 1

    def build(self, scale: int, bands: int) -> SRVGGNetCompact:
        """The network for `scale` and `bands` channels in and out; ValueError for a scale it cannot do."""
        return SRVGGNetCompact(scale, bands, bands, self.num_feat, self.num_conv, self.act_type, self.init)
