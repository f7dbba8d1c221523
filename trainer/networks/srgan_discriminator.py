"""SRGAN's discriminator: one logit for a whole picture, of any size."""

from dataclasses import dataclass
from typing import Literal

from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from trainer.networks.layers.norms import Norm, norm_layers
from trainer.networks.layers.resampling import AdaptiveAverage
from trainer.networks.layers.sizes import check_sizes
from trainer.networks.layers.spectral_norm import SpectralConv2d, SpectralLinear
from trainer.networks.network import Network

POOLED = 6  # side of the features that the dense layers read


class SRGANDiscriminator(Network):
    """Ledig et al. 2017 (SRGAN, fig. 4), behind an adaptive pooling to 6 x 6 so that any size will do.

    3x3 convolutions of stride 1 and 2 in turn, twice as many channels after each pair; norms after all but the first.
    """

    ends = ("features.0.",)

    @register_to_config
    def __init__(
        self,
        num_in_ch: int = 3,
        num_feat: int = 64,
        n_blocks: int = 8,
        linear_size: int = 1024,
        norm: Norm = "instance",
        use_spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        conv, dense = (SpectralConv2d, SpectralLinear) if use_spectral_norm else (nn.Conv2d, nn.Linear)
        layers: list[nn.Module] = []
        width = num_in_ch
        for block in range(n_blocks):
            before, width = width, num_feat * 2 ** (block // 2)
            layers.append(conv(before, width, 3, 1 + block % 2, 1))
            layers += [*(norm_layers(norm, width) if block else []), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers, AdaptiveAverage(POOLED))
        self.classifier = nn.Sequential(dense(width * POOLED**2, linear_size), nn.LeakyReLU(0.2), dense(linear_size, 1))

    def forward(self, x: Tensor) -> Tensor:
        """One logit a picture, float [B, 1], of `x`, float [B, num_in_ch, H, W] in [0, 1]."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


@dataclass(frozen=True, kw_only=True, slots=True)
class SRGANDiscriminatorConfig:
    """SRGAN's discriminator; the defaults are the guide's `standard` (23.6 M parameters) without BatchNorm."""

    type: Literal["SRGANDiscriminator"] = "SRGANDiscriminator"
    num_feat: int = 64
    """Channels of the first convolution."""
    n_blocks: int = 8
    """Convolutions; every second one halves the sides and the next doubles the channels."""
    linear_size: int = 1024
    """Width of the dense layer before the last."""
    norm: Norm = "instance"
    """Normalisation; `batch` is the paper's, and makes results depend on the size of a micro-batch."""
    use_spectral_norm: bool = False
    """Spectral normalisation of every convolution and dense layer."""

    def __post_init__(self) -> None:
        check_sizes(self, num_feat=1, n_blocks=1, linear_size=1)

    def problem(self, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` cannot be judged, or None: InstanceNorm needs more than one value to
        normalise."""
        smallest = 2 ** (self.n_blocks // 2) + 1
        if self.norm == "none" or gt_size >= smallest:
            return None
        return f"got {gt_size}; must be at least {smallest} for {self.type} with n_blocks {self.n_blocks}"

    def build(self, gt_size: int, bands: int) -> SRGANDiscriminator:
        """The network for patches of `gt_size` with `bands` channels; ValueError for a size that it cannot judge."""
        if problem := self.problem(gt_size):
            raise ValueError(problem)
        return SRGANDiscriminator(
            bands, self.num_feat, self.n_blocks, self.linear_size, self.norm, self.use_spectral_norm
        )
