"""Normalisation for discriminators, without state that could differ between ranks."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["instance", "batch", "none"]


class BatchStatistics2d(nn.BatchNorm2d):
    """BatchNorm (Ioffe and Szegedy 2015) that always uses the batch it is given, and keeps no running statistics.

    A discriminator is never evaluated on one picture, so nothing reads the running statistics; but they would differ on
    every rank, and a checkpoint would hold one rank's. The buffers stay, under BasicSR's names and untouched, so that
    its files load. As with every BatchNorm, the statistics are those of one micro-batch on one rank, so the result
    depends on how the global batch is divided.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def norm_layers(kind: Norm, channels: int) -> list[nn.Module]:
    """Normalisation after a convolution: [one layer], or [] for `none`."""
    if kind == "instance":
        return [nn.InstanceNorm2d(channels)]  # without parameters, as pix2pix has it
    return [BatchStatistics2d(channels)] if kind == "batch" else []
