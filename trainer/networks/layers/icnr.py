"""ICNR: a pixel-shuffle head that starts as nearest-neighbour upsampling, and so without a checkerboard."""

import torch
from einops import repeat
from torch import nn


@torch.no_grad()
def icnr_(conv: nn.Conv2d, factor: int) -> None:
    """Initialise the convolution before a pixel shuffle by `factor` (Aitken et al. 2017, arXiv 1707.02937, section 3).

    All the `factor`^2 output channels that become one channel's sub-pixels get one kernel, drawn as He et al. 2015 for
    the fan-in; biases become 0. What is shuffled is then constant over blocks of `factor` x `factor` pixels.

    Raises ValueError if the output channels do not divide into `factor`^2.
    """
    channels, rest = divmod(conv.out_channels, factor**2)
    if rest:
        raise ValueError(f"{conv.out_channels} channels cannot be shuffled by {factor}: {factor**2} must divide them")
    kernels = conv.weight.new_empty(channels, *conv.weight.shape[1:])
    nn.init.kaiming_normal_(kernels)  # its result is not used: diffusers makes it None while it loads weights
    spread = "channel inner row column -> (channel down along) inner row column"  # as a pixel shuffle reads channels
    conv.weight.copy_(repeat(kernels, spread, down=factor, along=factor))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
