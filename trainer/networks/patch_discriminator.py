"""PatchGAN, pix2pix's discriminator: a logit for each of many overlapping patches."""

from dataclasses import dataclass
from typing import Literal

from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from trainer.networks.layers.norms import Norm, norm_layers
from trainer.networks.layers.sizes import check_sizes
from trainer.networks.layers.spectral_norm import SpectralConv2d
from trainer.networks.network import Network

WIDEST = 8  # times num_feat: pix2pix stops doubling there


class PatchDiscriminator(Network):
    """Isola et al. 2017, "Image-to-image translation with conditional adversarial networks", section 3.2.2.

    4x4 convolutions: `n_blocks` of stride 2, then two of stride 1. The names are those of pix2pix's
    `NLayerDiscriminator`. Three blocks see 70 x 70 pixels for each logit.
    """

    ends = ("model.0.",)

    @register_to_config
    def __init__(
        self,
        num_in_ch: int = 3,
        num_feat: int = 64,
        n_blocks: int = 3,
        norm: Norm = "instance",
        use_spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        conv = SpectralConv2d if use_spectral_norm else nn.Conv2d
        layers: list[nn.Module] = [conv(num_in_ch, num_feat, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = num_feat
        for block in range(1, n_blocks + 1):
            before, width = width, num_feat * min(2**block, WIDEST)
            # Biases stay under the norms that undo them: pix2pix's rule for InstanceNorm.
            layers += [conv(before, width, 4, 2 if block < n_blocks else 1, 1), *norm_layers(norm, width)]
            layers.append(nn.LeakyReLU(0.2))
        layers.append(conv(width, 1, 4, 1, 1))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float [B, 1, h, w] with h = H / 2^n_blocks - 2, of `x`, float [B, num_in_ch, H, W] in [0, 1]."""
        logits: Tensor = self.model(x)
        return logits


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchDiscriminatorConfig:
    """PatchGAN's sizes; the defaults are pix2pix's (2.8 M parameters)."""

    type: Literal["PatchDiscriminator"] = "PatchDiscriminator"
    num_feat: int = 64
    """Channels of the first convolution; they double with each block, up to eight times as many."""
    n_blocks: int = 3
    """Convolutions of stride 2."""
    norm: Norm = "instance"
    """Normalisation between the convolutions and their LeakyReLUs. `batch` makes results depend on the size of a
    micro-batch."""
    use_spectral_norm: bool = False
    """Spectral normalisation of every convolution."""

    def __post_init__(self) -> None:
        check_sizes(self, num_feat=1, n_blocks=1)

    def problem(self, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` cannot be judged, or None."""
        smallest = 3 * 2**self.n_blocks  # its two last convolutions leave nothing of less than 3 x 3 features
        if gt_size >= smallest:
            return None
        return f"got {gt_size}; must be at least {smallest} for {self.type} with n_blocks {self.n_blocks}"

    def build(self, gt_size: int, bands: int) -> PatchDiscriminator:
        """The network for patches of `gt_size` with `bands` channels; ValueError for a size that it cannot judge."""
        if problem := self.problem(gt_size):
            raise ValueError(problem)
        return PatchDiscriminator(bands, self.num_feat, self.n_blocks, self.norm, self.use_spectral_norm)
