"""SRResNet with a choice of residual blocks: the guide's flexible generator, and its noise-conditioned one.

The noise of the second (`stochastic_gan`: one input, many possible results) is an input, never drawn inside: a run's
stream must be a function of positions alone, and an exported network must give the same picture twice. Training draws
a vector for each place of a step's global batch, validation one for each of its pairs, the same at every validation
(`trainer.networks.layers.noise`). Users of an export give vectors of their own, or none: then the result is that of the
zero vector, the centre of the distribution.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from trainer.networks.layers.blocks import BlockType, NoiseBlock, residual_block
from trainer.networks.layers.sizes import check_sizes
from trainer.networks.layers.upsampler import ShuffleGenerator, ShuffleGeneratorConfig


def conv(channels_in: int, channels_out: int, side: int) -> nn.Conv2d:
    """A convolution that keeps the size of the picture; `side` is odd."""
    return nn.Conv2d(channels_in, channels_out, side, 1, side // 2)


def outer_layers(num_in_ch: int, num_out_ch: int, n_channels: int, large: int, small: int) -> dict[str, nn.Module]:
    """The parts of SRGAN's generator that are not blocks or shuffles, with kernels of these sides."""
    return {
        "head": nn.Sequential(conv(num_in_ch, n_channels, large), nn.PReLU()),
        "body_tail": conv(n_channels, n_channels, small),
        "tail": conv(n_channels, num_out_ch, large),
    }


class SRResNet(ShuffleGenerator):
    """Ledig et al. 2017 (SRGAN, fig. 4) without its BatchNorms, whose statistics differ between ranks and between
    training and use, and without an activation at the end, so that any range of values can be learned.

    The guide's `standard` block, `res` with BatchNorm and a Tanh, is left out for these two reasons.
    """

    _repeated_blocks: ClassVar[list[str]] = ["Scaled"]

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
        super().__init__(
            scale,
            **outer_layers(num_in_ch, num_out_ch, n_channels, large_kernel_size, small_kernel_size),
            blocks=(residual_block(block_type, n_channels, small_kernel_size, res_scale) for _ in range(n_blocks)),
            n_channels=n_channels,
            use_icnr=use_icnr,
        )


class StochasticSRResNet(ShuffleGenerator):
    """SRResNet whose blocks are modulated by one vector of noise for each picture."""

    _repeated_blocks: ClassVar[list[str]] = ["NoiseBlock"]

    @register_to_config
    def __init__(
        self,
        scale: int = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        n_channels: int = 64,
        n_blocks: int = 16,
        large_kernel_size: int = 9,
        small_kernel_size: int = 3,
        noise_dim: int = 128,
        res_scale: float = 0.2,
        use_icnr: bool = True,
    ) -> None:
        super().__init__(
            scale,
            **outer_layers(num_in_ch, num_out_ch, n_channels, large_kernel_size, small_kernel_size),
            blocks=(NoiseBlock(n_channels, small_kernel_size, noise_dim, res_scale) for _ in range(n_blocks)),
            n_channels=n_channels,
            use_icnr=use_icnr,
        )
        self.noise_dim = noise_dim

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:  # type: ignore[override]  # one condition
        """Upscale `x`, float [B, num_in_ch, h, w], to [B, num_out_ch, scale*h, scale*w], not clamped.

        `noise` is float [B, noise_dim], standard normal; None is the zero vector.
        """
        return super().forward(x, x.new_zeros(x.shape[0], self.noise_dim) if noise is None else noise)


@dataclass(frozen=True, kw_only=True, slots=True)
class _SRResNetSizes(ShuffleGeneratorConfig):
    """The sizes common to both networks; the defaults are the guide's."""

    large_kernel_size: int = 9
    """Side of the first and of the last convolution; odd."""
    small_kernel_size: int = 3
    """Side of the blocks' convolutions, save those of `rrdb`, and of the one after them; odd."""
    res_scale: float = 0.2
    """Factor of each block's residual."""

    def __post_init__(self) -> None:
        ShuffleGeneratorConfig.__post_init__(self)
        check_sizes(self, large_kernel_size=1, small_kernel_size=1)
        for key in ("large_kernel_size", "small_kernel_size"):
            if (size := getattr(self, key)) % 2 == 0:
                raise ValueError(f"{key}: got {size}; must be odd")


@dataclass(frozen=True, kw_only=True, slots=True)
class SRResNetConfig(_SRResNetSizes):
    """SRResNet's sizes."""

    type: Literal["SRResNet"] = "SRResNet"
    block_type: BlockType = "res"
    """`res` plain residual, `rcab` with channel attention, `rrdb` three dense blocks, `lka` large-kernel attention."""

    def build(self, scale: int, bands: int) -> SRResNet:
        """The network for `scale` and `bands` channels in and out; ValueError for a scale it cannot do."""
        return SRResNet(scale, **self.arguments(bands))


@dataclass(frozen=True, kw_only=True, slots=True)
class StochasticSRResNetConfig(_SRResNetSizes):
    """StochasticSRResNet's sizes."""

    type: Literal["StochasticSRResNet"] = "StochasticSRResNet"
    noise_dim: int = 128
    """Length of a picture's noise vector."""

    def __post_init__(self) -> None:
        _SRResNetSizes.__post_init__(self)
        check_sizes(self, noise_dim=1)

    def build(self, scale: int, bands: int) -> StochasticSRResNet:
        """The network for `scale` and `bands` channels in and out; ValueError for a scale it cannot do."""
        return StochasticSRResNet(scale, **self.arguments(bands))
