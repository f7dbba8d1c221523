"""The pixel-shuffle heads that the guide's generators share."""

from torch import nn

from trainer.networks.icnr import icnr_

STEPS = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
"""The factors by which each scale is reached."""


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


def check_scale(name: str, scale: int) -> None:
    """ValueError where there are no steps to `scale`."""
    if scale not in STEPS:
        raise ValueError(f"{name} upscales by {', '.join(map(str, STEPS))}, not by {scale}")
