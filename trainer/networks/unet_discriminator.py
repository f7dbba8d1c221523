"""Real-ESRGAN's discriminator: a U-Net with spectral normalisation that judges every pixel."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from trainer.networks.layers.doubled import doubled
from trainer.networks.layers.sizes import check_sizes
from trainer.networks.layers.spectral_norm import SpectralConv2d
from trainer.networks.network import Network

LEAK = 0.2
MULTIPLE = 8  # three halvings, and skips that must meet again


class UNetDiscriminatorSN(Network):
    """Schönfeld et al. 2020 as simplified by Wang et al. 2021 (Real-ESRGAN, fig. 6; BasicSR `discriminator_arch.py`).

    Parameter count and state-dict names are upstream's, so released `net_d` files load. Its power iterations are not
    made by the forward: see `trainer.networks.layers.spectral_norm.advance`.
    """

    ends = ("conv0.",)

    @register_to_config
    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, skip_connection: bool = True) -> None:
        super().__init__()
        self.skip_connection = skip_connection
        self.conv0 = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.conv1 = SpectralConv2d(num_feat, num_feat * 2, 4, 2, 1, bias=False)
        self.conv2 = SpectralConv2d(num_feat * 2, num_feat * 4, 4, 2, 1, bias=False)
        self.conv3 = SpectralConv2d(num_feat * 4, num_feat * 8, 4, 2, 1, bias=False)
        self.conv4 = SpectralConv2d(num_feat * 8, num_feat * 4, 3, 1, 1, bias=False)
        self.conv5 = SpectralConv2d(num_feat * 4, num_feat * 2, 3, 1, 1, bias=False)
        self.conv6 = SpectralConv2d(num_feat * 2, num_feat, 3, 1, 1, bias=False)
        self.conv7 = SpectralConv2d(num_feat, num_feat, 3, 1, 1, bias=False)
        self.conv8 = SpectralConv2d(num_feat, num_feat, 3, 1, 1, bias=False)
        self.conv9 = nn.Conv2d(num_feat, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float [B, 1, H, W], one for each pixel of `x`, float [B, num_in_ch, H, W] in [0, 1].

        Raises ValueError if H or W is not a multiple of 8.
        """
        if x.shape[-2] % MULTIPLE or x.shape[-1] % MULTIPLE:
            size = "x".join(map(str, x.shape[-2:]))
            raise ValueError(f"a picture of {size} does not divide by {MULTIPLE}, as UNetDiscriminatorSN needs")
        x0 = F.leaky_relu(self.conv0(x), LEAK)
        x1 = F.leaky_relu(self.conv1(x0), LEAK)
        x2 = F.leaky_relu(self.conv2(x1), LEAK)
        x3 = F.leaky_relu(self.conv3(x2), LEAK)
        x4 = self._joined(F.leaky_relu(self.conv4(doubled(x3)), LEAK), x2)
        x5 = self._joined(F.leaky_relu(self.conv5(doubled(x4)), LEAK), x1)
        x6 = self._joined(F.leaky_relu(self.conv6(doubled(x5)), LEAK), x0)
        out = F.leaky_relu(self.conv8(F.leaky_relu(self.conv7(x6), LEAK)), LEAK)
        logits: Tensor = self.conv9(out)
        return logits

    def _joined(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        return decoded + encoded if self.skip_connection else decoded


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetDiscriminatorSNConfig:
    """UNetDiscriminatorSN's sizes; the defaults are Real-ESRGAN's (4.4 M parameters)."""

    type: Literal["UNetDiscriminatorSN"] = "UNetDiscriminatorSN"
    num_feat: int = 64
    """Channels at full resolution."""
    skip_connection: bool = True
    """Add the encoder's features to the decoder's."""

    def __post_init__(self) -> None:
        check_sizes(self, num_feat=1)

    def problem(self, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` cannot be judged, or None."""
        if gt_size >= MULTIPLE and gt_size % MULTIPLE == 0:
            return None
        near = max(MULTIPLE, gt_size // MULTIPLE * MULTIPLE)
        return f"got {gt_size}; must be a multiple of {MULTIPLE} for {self.type}: {near} or {near + MULTIPLE} would do"

    def build(self, gt_size: int, bands: int) -> UNetDiscriminatorSN:
        """The network for patches of `gt_size` with `bands` channels; ValueError for a size that it cannot judge."""
        if problem := self.problem(gt_size):
            raise ValueError(problem)
        return UNetDiscriminatorSN(bands, self.num_feat, self.skip_connection)
