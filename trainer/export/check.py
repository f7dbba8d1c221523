"""Comparison of an exported file with the torch network, on the same pictures."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.mistakes import Failure
from trainer.networks import Generator
from trainer.networks.loading.generators import bands_of, multiple_of, scale_of

TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest difference allowed in a result, in values of [0, 1]; 1e-4 is a fortieth of an 8-bit level."""
SHAPES = ((1, 24, 40), (2, 17, 29))  # batch, height, width: a file must not fix any of them
GOLDEN = (5**0.5 - 1) / 2


class AnySize(nn.Module):
    """A generator for inputs of any size: pads to its multiple by the last row and column, crops the result."""

    def __init__(self, net: Generator) -> None:
        super().__init__()
        self.net, self.scale, self.multiple = net, scale_of(net), multiple_of(net)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padded = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        out: Tensor = self.net(padded)[..., : height * self.scale, : width * self.scale]
        return out


def pictures_for(net: Generator) -> list[Tensor]:
    """Test pictures of several sizes, odd ones too, float32 [B, C, h, w], spread over [0, 1), the same in every run."""
    sizes = [(batch, bands_of(net), *sides) for batch, *sides in SHAPES]
    rows = [torch.arange(torch.Size(size).numel(), dtype=torch.float64) * GOLDEN % 1 for size in sizes]
    return [row.float().reshape(size) for row, size in zip(rows, sizes, strict=True)]


@torch.no_grad()
def results_of(net: Generator, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Outputs of `net` under `AnySize` for the pictures, float32; Failure if a foreign network rejects a size."""
    results, fitted = [], AnySize(net)
    for picture in pictures:
        try:
            results.append(fitted(picture).float())
        except Exception as error:  # networks raise any class
            height, width = picture.shape[2:]
            reason = (str(error).strip().splitlines() or [""])[0]
            raise Failure(
                f"{type(net).__name__} takes no picture of {width}x{height} ({type(error).__name__}: {reason}): is the "
                f"`multiple` in its config.json what the sides of its input must be a multiple of?"
            ) from error
    return results


def largest_difference(wanted: Sequence[Tensor], got: Sequence[Tensor], dtype: torch.dtype, file: Path) -> float:
    """Largest difference between two lists of results; Failure if it exceeds the tolerance of `dtype`."""
    pairs = list(zip(wanted, got, strict=True))
    same_shapes = all(one.shape == other.shape for one, other in pairs)
    difference = max((one - other).abs().max().item() for one, other in pairs) if same_shapes else float("inf")
    if not difference <= TOLERANCES[dtype]:  # NaN fails too
        raise Failure(
            f"{file.name} does not compute what the network does: the largest difference is {difference:.1e}, "
            f"{TOLERANCES[dtype]:.0e} is allowed, so it was not kept"
        )
    return difference
