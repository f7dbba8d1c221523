"""Common parts of the guide's generators: all but the ends at the low resolution, then pixel shuffles."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor, nn

from trainer.networks.layers.icnr import icnr_
from trainer.networks.layers.sizes import check_sizes
from trainer.networks.network import Network

STEPS = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
"""Scale -> the factors of the pixel shuffles that reach it."""


class ShuffleUpsampler(nn.Sequential):
    """For each factor of `scale`: convolution, pixel shuffle, PReLU (SRGAN, fig. 4).

    `use_icnr` starts every convolution as nearest-neighbour upsampling; otherwise as PyTorch does.
    """

    def __init__(self, scale: int, channels: int, use_icnr: bool) -> None:
        layers: list[nn.Module] = []
        for factor in STEPS[scale]:
            conv = nn.Conv2d(channels, channels * factor**2, 3, 1, 1)
            if use_icnr:
                icnr_(conv, factor)
            layers += [conv, nn.PixelShuffle(factor), nn.PReLU()]
        super().__init__(*layers)


class Blocks(nn.Sequential):
    """A sequence of blocks, each given the same condition, if any, beside the features."""

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        for block in self:
            x = block(x, *condition)
        return x


class ShuffleGenerator(Network):
    """SRGAN's architecture (Ledig et al. 2017, fig. 4): a head, residual blocks under a long skip, pixel shuffles, a
    tail.

    A subclass makes the parts, under its own registered arguments. ValueError for a scale that has no steps.
    """

    scales: ClassVar[tuple[int, ...]] = tuple(STEPS)
    ends = ("head.", "upsampler.", "tail.")

    def __init__(
        self,
        scale: int,
        *,
        head: nn.Module,
        blocks: Iterable[nn.Module],
        body_tail: nn.Module,
        tail: nn.Module,
        n_channels: int,
        use_icnr: bool,
    ) -> None:
        super().__init__()
        if scale not in STEPS:
            raise ValueError(f"{type(self).__name__} upscales by {', '.join(map(str, STEPS))}, not by {scale}")
        self.head = head
        self.body = Blocks(*blocks)
        self.body_tail = body_tail
        self.upsampler = ShuffleUpsampler(scale, n_channels, use_icnr)
        self.tail = tail

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        """Upscale `x`, float [B, num_in_ch, h, w], to [B, num_out_ch, scale*h, scale*w], not clamped."""
        features = self.head(x)
        return self.behind(features, self.body(features, *condition))

    def behind(self, features: Tensor, deep: Tensor) -> Tensor:
        """What follows the blocks, from their input and their result, both float [B, n_channels, h, w]."""
        features = features + self.body_tail(deep)
        out: Tensor = self.tail(self.upsampler(features))
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffleGeneratorConfig:
    """The sizes common to those generators, under the guide's names; `type` and `build` are a subclass's."""

    type: str
    n_channels: int = 64
    """Channels between the blocks."""
    n_blocks: int = 16
    """Number of blocks."""
    use_icnr: bool = True
    """Start each pixel-shuffle head as nearest-neighbour upsampling, which keeps checkerboards away."""

    def __post_init__(self) -> None:
        check_sizes(self, n_channels=1, n_blocks=1)

    @property
    def scales(self) -> tuple[int, ...]:
        """The supported scales."""
        return ShuffleGenerator.scales

    def input_multiple(self, scale: int) -> int:  # noqa: ARG002 - one signature for all generators
        """The number of which the sides of an input must be multiples: 1, so any size will do."""
        return 1

    def arguments(self, bands: int) -> dict[str, Any]:
        """Arguments of the network beside the scale, for `bands` channels in and out."""
        sizes = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "type"}
        return {"num_in_ch": bands, "num_out_ch": bands, **sizes}
