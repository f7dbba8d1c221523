"""Options, pictures and modules that a program of somebody gives to a model."""

import torch
from torch import Tensor, nn

SMALL = {
    "scale": 2,
    "gt_size": 32,
    "queue_size": 0,
    "network_g": {"type": "RRDBNet", "num_feat": 4, "num_block": 1, "num_grow_ch": 2},
}


def pictures(count: int = 2, side: int = 48, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


class Doubling(nn.Module):
    """A generator of a program's own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), 2)


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv(x)
        return logits
