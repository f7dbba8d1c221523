"""SRResNet with a choice of residual blocks: the guide's flexible generator."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from trainer.networks.blocks import BlockType, residual_block
from trainer.networks.upsampler import STEPS, ShuffleUpsampler, check_scale


class SRResNet(ModelMixin, ConfigMixin):
    """Ledig et al. 2017 (SRGAN, fig. 4) without its BatchNorms, whose statistics differ between ranks and between
    training and use, and without an activation at the end, so that any range of values can be learned.

    All work but the head is done at the low resolution. The guide's `standard` block, `res` with BatchNorm and a Tanh,
    is left out for these two reasons.
    """

    scales: ClassVar[tuple[int, ...]] = tuple(STEPS)

    @register_to_config
    def __init__(
        self,
        scale: int = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        block_type: BlockType = "res",
        n_channels: int = 64,
        n_blocks: int = 16,
        large_kernel_size: int = 9,
        small_kernel_size: int = 3,
        res_scale: float = 0.2,
        use_icnr: bool = True,
    ) -> None:
        super().__init__()
        check_scale("SRResNet", scale)
        wide, narrow = large_kernel_size, small_kernel_size
        self.head = nn.Sequential(nn.Conv2d(num_in_ch, n_channels, wide, 1, wide // 2), nn.PReLU())
        self.body = nn.Sequential(*(residual_block(block_type, n_channels, narrow, res_scale) for _ in range(n_blocks)))
        self.body_tail = nn.Conv2d(n_channels, n_channels, narrow, 1, narrow // 2)
        self.upsampler = ShuffleUpsampler(scale, n_channels, use_icnr)
        self.tail = nn.Conv2d(n_channels, num_out_ch, wide, 1, wide // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale `x`, float [B, num_in_ch, h, w], to [B, num_out_ch, scale*h, scale*w], not clamped."""
        features = self.head(x)
        features = features + self.body_tail(self.body(features))
        out: Tensor = self.tail(self.upsampler(features))
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class SRResNetConfig:
    """SRResNet's sizes under the guide's names; the defaults are the guide's."""

    type: Literal["SRResNet"] = "SRResNet"
    block_type: BlockType = "res"
    """`res` plain residual, `rcab` with channel attention, `rrdb` three dense blocks, `lka` large-kernel attention."""
    n_channels: int = 64
    """Channels between the blocks."""
    n_blocks: int = 16
    """Number of blocks."""
    large_kernel_size: int = 9
    """Side of the first and of the last convolution; odd."""
    small_kernel_size: int = 3
    """Side of the blocks' convolutions, save those of `rrdb`, and of the one after them; odd."""
    res_scale: float = 0.2
    """Factor of each block's residual."""
    use_icnr: bool = True
    """Start each pixel-shuffle head as nearest-neighbour upsampling, which keeps checkerboards away."""

    def __post_init__(self) -> None:
        for key in ("large_kernel_size", "small_kernel_size"):
            if (size := getattr(self, key)) < 1 or size % 2 == 0:
                raise ValueError(f"{key}: got {size}; must be odd")

    @property
    def scales(self) -> tuple[int, ...]:
        """What it can upscale by."""
        return SRResNet.scales

    def input_multiple(self, scale: int) -> int:  # noqa: ARG002 - one signature for all generators
        """What the sides of an input must be a multiple of: nothing."""
        return 1

    def build(self, scale: int, bands: int) -> SRResNet:
        """The network for `scale` and `bands` channels in and out; ValueError for a scale it cannot do."""
        return SRResNet(
            scale,
            bands,
            bands,
            self.block_type,
            self.n_channels,
            self.n_blocks,
            self.large_kernel_size,
            self.small_kernel_size,
            self.res_scale,
            self.use_icnr,
        )
