"""The guide's noise-conditioned generator (`stochastic_gan`): one input, many possible results.

The noise is an input, never drawn inside: a run's stream must be a function of positions alone, and an exported network
must give the same picture twice. Training draws a vector for each place of a step's global batch, validation one for
each of its pairs, the same at every validation (`noise_for`). Whoever opens an export gives vectors of their own, or
none: then the result is that of the zero vector, the centre of the distribution.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from degradations.draws import Keys, normals
from trainer.networks.blocks import NoiseBlock
from trainer.networks.upsampler import STEPS, ShuffleUpsampler, check_scale

PURPOSE = 96  # of the noise among a sample's keyed draws; `trainer.images.positions` counts from 64


def noise_of(keys: Keys, noise_dim: int) -> Tensor:
    """The noise of each sample, standard normal float32 [B, noise_dim] on the keys' device: the same on any rank.

    The position is that of a place in a step's global batch, step * B + place, also where a pool has mixed the pairs.
    """
    return normals(keys, PURPOSE, noise_dim)


def noise_for(generator: nn.Module, keys: Keys) -> tuple[Tensor, ...]:
    """What `generator`, a bare module, takes beside the pictures: the noise of `keys` if it is stochastic, or nothing.

    Drawn on the CPU, where the numbers are the same for any device to come.
    """
    if not isinstance(generator, StochasticSRResNet):
        return ()
    return (noise_of(keys, generator.noise_dim).to(generator.device, non_blocking=True),)


class StochasticSRResNet(ModelMixin, ConfigMixin):
    """SRResNet whose blocks are modulated by one vector of noise for each picture."""

    scales: ClassVar[tuple[int, ...]] = tuple(STEPS)

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
        super().__init__()
        check_scale("StochasticSRResNet", scale)
        self.noise_dim = noise_dim
        wide, narrow = large_kernel_size, small_kernel_size
        self.head = nn.Sequential(nn.Conv2d(num_in_ch, n_channels, wide, 1, wide // 2), nn.PReLU())
        self.body = nn.ModuleList(NoiseBlock(n_channels, narrow, noise_dim, res_scale) for _ in range(n_blocks))
        self.body_tail = nn.Conv2d(n_channels, n_channels, narrow, 1, narrow // 2)
        self.upsampler = ShuffleUpsampler(scale, n_channels, use_icnr)
        self.tail = nn.Conv2d(n_channels, num_out_ch, wide, 1, wide // 2)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Upscale `x`, float [B, num_in_ch, h, w], to [B, num_out_ch, scale*h, scale*w], not clamped.

        `noise` is float [B, noise_dim], standard normal; None is the zero vector.
        """
        if noise is None:
            noise = x.new_zeros(x.shape[0], self.noise_dim)
        features = self.head(x)
        body = features
        for block in self.body:
            body = block(body, noise)
        out: Tensor = self.tail(self.upsampler(features + self.body_tail(body)))
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class StochasticSRResNetConfig:
    """StochasticSRResNet's sizes under the guide's names; the defaults are the guide's."""

    type: Literal["StochasticSRResNet"] = "StochasticSRResNet"
    n_channels: int = 64
    """Channels between the blocks."""
    n_blocks: int = 16
    """Number of blocks."""
    large_kernel_size: int = 9
    """Side of the first and of the last convolution; odd."""
    small_kernel_size: int = 3
    """Side of the convolutions between; odd."""
    noise_dim: int = 128
    """Length of a picture's noise vector."""
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
        return StochasticSRResNet.scales

    def input_multiple(self, scale: int) -> int:  # noqa: ARG002 - one signature for all generators
        """What the sides of an input must be a multiple of: nothing."""
        return 1

    def build(self, scale: int, bands: int) -> StochasticSRResNet:
        """The network for `scale` and `bands` channels in and out; ValueError for a scale it cannot do."""
        return StochasticSRResNet(
            scale,
            bands,
            bands,
            self.n_channels,
            self.n_blocks,
            self.large_kernel_size,
            self.small_kernel_size,
            self.noise_dim,
            self.res_scale,
            self.use_icnr,
        )
