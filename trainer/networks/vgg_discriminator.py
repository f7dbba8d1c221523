"""BasicSR's VGG-style discriminator, that of SRGAN and ESRGAN there."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from trainer.networks.layers.norms import BatchStatistics2d
from trainer.networks.layers.sizes import check_sizes
from trainer.networks.network import Network

LEAK = 0.2
STAGES = {128: 5, 256: 6}  # halvings until 4 x 4 features are left
WIDEST = 8


class VGGStyleDiscriminator(Network):
    """Ten or twelve convolutions with BatchNorm and two dense layers (BasicSR `discriminator_arch.py`, names included).

    Its BatchNorms normalise by the micro-batch at hand and keep no running statistics, so its state is the same on all
    ranks (`trainer.networks.layers.norms`); an update still depends on the size of the micro-batches.
    """

    ends = ("conv0_0.",)

    @register_to_config
    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, input_size: int = 128) -> None:
        super().__init__()
        self.input_size = input_size
        self.stages = STAGES[input_size]
        width = num_in_ch
        for stage in range(self.stages):
            before, width = width, num_feat * min(2**stage, WIDEST)
            self.add_module(f"conv{stage}_0", nn.Conv2d(before, width, 3, 1, 1, bias=stage == 0))
            if stage:
                self.add_module(f"bn{stage}_0", BatchStatistics2d(width))
            self.add_module(f"conv{stage}_1", nn.Conv2d(width, width, 4, 2, 1, bias=False))
            self.add_module(f"bn{stage}_1", BatchStatistics2d(width))
        self.linear1 = nn.Linear(width * 4 * 4, 100)
        self.linear2 = nn.Linear(100, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One logit a picture, float [B, 1], of `x`, float [B, num_in_ch, input_size, input_size] in [0, 1].

        Raises ValueError for another size.
        """
        if x.shape[-2:] != (self.input_size, self.input_size):
            size = "x".join(map(str, x.shape[-2:]))
            raise ValueError(f"this VGGStyleDiscriminator judges {self.input_size}x{self.input_size}, not {size}")
        for stage in range(self.stages):
            for half in (0, 1):
                x = self.get_submodule(f"conv{stage}_{half}")(x)
                if stage or half:
                    x = self.get_submodule(f"bn{stage}_{half}")(x)
                x = F.leaky_relu(x, LEAK)
        logits: Tensor = self.linear2(F.leaky_relu(self.linear1(x.flatten(1)), LEAK))
        return logits


@dataclass(frozen=True, kw_only=True, slots=True)
class VGGStyleDiscriminatorConfig:
    """VGGStyleDiscriminator's sizes; the defaults are BasicSR's. It judges patches of 128 or 256 pixels only."""

    type: Literal["VGGStyleDiscriminator"] = "VGGStyleDiscriminator"
    num_feat: int = 64
    """Channels of the first convolution; they double with each stage, up to eight times as many."""

    def __post_init__(self) -> None:
        check_sizes(self, num_feat=1)

    def problem(self, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` cannot be judged, or None."""
        if gt_size in STAGES:
            return None
        return f"got {gt_size}; must be {' or '.join(map(str, STAGES))} for {self.type}"

    def build(self, gt_size: int, bands: int) -> VGGStyleDiscriminator:
        """The network for patches of `gt_size` with `bands` channels; ValueError for a size that it cannot judge."""
        if problem := self.problem(gt_size):
            raise ValueError(problem)
        return VGGStyleDiscriminator(bands, self.num_feat, gt_size)
