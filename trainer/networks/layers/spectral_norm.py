"""Spectral normalisation whose power iteration is a call of its own (Miyato et al. 2018, algorithm 1).

`torch.nn.utils.spectral_norm` makes a power iteration at every forward in training mode, so the weights that a
discriminator applies depend on how many ranks, micro-batches and extra forwards there are: 1e-1 apart after twelve Adam
steps. Here a forward changes nothing and ignores the mode; the trainer calls `advance(discriminator)` once for
each optimizer step of the discriminator, before its first forward. Every rank then has the same vectors, which follow
from the weights alone, without communication. State-dict names are torch's and so BasicSR's: `weight_orig`,
`weight_u`, `weight_v`; released discriminators load.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degradations.precision import no_autocast

EPS = 1e-12  # torch's
FIRST = 15  # power iterations at the start, as in torch.nn.utils.parametrizations.spectral_norm


class _SpectralWeight(nn.Module):
    """A layer's weight divided by an estimate of its largest singular value, u^T W v."""

    weight_orig: nn.Parameter
    weight_u: Tensor
    weight_v: Tensor

    def _adopt(self) -> None:
        """Turn the layer's own `weight` into `weight_orig`, and draw the two vectors."""
        weight = self._parameters.pop("weight")
        assert weight is not None  # the layers below have just made it
        self.register_parameter("weight_orig", weight)
        matrix = weight.detach().flatten(1)
        self.register_buffer("weight_u", F.normalize(torch.randn_like(matrix[:, 0]), dim=0, eps=EPS))
        self.register_buffer("weight_v", F.normalize(torch.randn_like(matrix[0]), dim=0, eps=EPS))
        for _ in range(FIRST):  # from random vectors sigma is near 0, and the generator is judged before the first step
            self.advance()

    @torch.no_grad()
    def advance(self) -> None:
        """One power iteration: v = W^T u / |W^T u|, then u = W v / |W v|."""
        matrix = self.weight_orig.flatten(1)
        torch.mv(matrix.t(), self.weight_u, out=self.weight_v)
        self.weight_v.copy_(F.normalize(self.weight_v, dim=0, eps=EPS))
        torch.mv(matrix, self.weight_v, out=self.weight_u)
        self.weight_u.copy_(F.normalize(self.weight_u, dim=0, eps=EPS))

    def normalised(self) -> Tensor:
        """The weight that the layer applies. In float32 under autocast too: a bf16 sigma is off by up to 0.4 %."""
        with no_autocast(self.weight_orig.device):
            sigma = torch.dot(self.weight_u, torch.mv(self.weight_orig.flatten(1), self.weight_v))
            return self.weight_orig / sigma


class SpectralConv2d(_SpectralWeight, nn.Conv2d):
    """`nn.Conv2d` with a spectrally normalised weight; the arguments are its own."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self._adopt()

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.normalised(), self.bias)


class SpectralLinear(_SpectralWeight, nn.Linear):
    """`nn.Linear` with a spectrally normalised weight; the arguments are its own."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self._adopt()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalised(), self.bias)


def advance(net: nn.Module) -> None:
    """One power iteration in every spectrally normalised layer of `net`: call it once per optimizer step.

    Layers under torch's own hook, which an imported discriminator may have, are not touched: they iterate at each
    forward in training mode.
    """
    for layer in net.modules():
        if isinstance(layer, _SpectralWeight):
            layer.advance()
