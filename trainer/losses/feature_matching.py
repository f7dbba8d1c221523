"""Feature matching: distance in the discriminator's own features (pix2pixHD, Wang et al. 2018, CVPR)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from trainer.losses.full_precision import in_full_precision
from trainer.losses.weight import check_weight


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureMatching:
    """sum over layers of mean |D_i(real) - D_i(result)|, the discriminator's own features (pix2pixHD, eq. 4).

    The real pictures are those that the discriminator is shown; their features have no gradient. The result's come from
    the forward that judges it, so the price is a forward of the real pictures without gradient, and none if the
    adversarial loss is relativistic. With BatchNorm in the discriminator it depends on the micro-batches.
    """

    weight: float = 1.0
    """The term's factor in the objective, which rises with the adversarial loss's; 0 leaves it out. The paper's is 10
    beside an adversarial weight of 1. With it the adversarial term costs up to 1.8 times as much."""
    layers: tuple[str, ...] = ()
    """Names of the discriminator's modules whose outputs are compared; by default all its convolutions but the last."""

    def __post_init__(self) -> None:
        check_weight(self.weight)


class FeatureRecorder:
    """The outputs of some layers of a network, kept while it runs inside `recording`.

    Hooks on the network itself, which a compiler sees where it compiles the network afterwards; outside of `recording`
    they keep nothing.

    Parameters
    ----------
    net : a discriminator, before it is compiled
    layers : names of modules in it; none are all its convolutions but the last

    ValueError for a module that is not there, or a network without convolutions to choose from.
    """

    def __init__(self, net: nn.Module, layers: Sequence[str]) -> None:
        known = dict(net.named_modules())
        convolutions = [name for name, module in known.items() if isinstance(module, _ConvNd)]
        if unknown := [name for name in layers if name not in known]:
            some = ", ".join(convolutions[:3])
            raise ValueError(f"layers: {type(net).__name__} has no {', '.join(unknown)}; it has {some}, for example")
        self.layers = tuple(layers) or tuple(convolutions[:-1])
        if not self.layers:
            raise ValueError(f"layers: must be given, for {type(net).__name__} has no two convolutions to choose from")
        self.recorded: list[Tensor] | None = None
        for name in self.layers:
            known[name].register_forward_hook(self._record)

    @contextmanager
    def recording(self) -> Iterator[list[Tensor]]:
        """The list of features of whatever the network is applied to meanwhile, in the order of the layers' calls."""
        found: list[Tensor] = []
        self.recorded = found
        try:
            yield found
        finally:
            self.recorded = None

    def _record(self, _: nn.Module, __: Any, output: Any) -> None:
        if self.recorded is not None and isinstance(output, Tensor):
            self.recorded.append(output)

    def try_out(self, net: nn.Module, shape: Sequence[int]) -> None:
        """Apply the network to zeros of `shape`; ValueError if its layers gave no tensor. Its mode stays as it is."""
        modes = [(module, module.training) for module in net.modules()]
        device = next((p.device for p in net.parameters()), None)
        try:
            with torch.no_grad(), self.recording() as found:
                net.eval()(torch.zeros(*shape, device=device))
        finally:
            for module, training in modes:
                module.training = training
        if not found:
            raise ValueError(f"layers: {', '.join(self.layers)} of {type(net).__name__} gave no tensor")


@contextmanager
def not_recording() -> Iterator[list[Tensor]]:
    """An empty list."""
    yield []


@in_full_precision
def layer_distance(got: Tensor, wanted: Tensor) -> Tensor:
    """mean |d| of the outputs of one layer, in float32."""
    return F.l1_loss(got, wanted)


def feature_distance(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The sum over layers of the mean distance of their outputs, a scalar."""
    return torch.stack([layer_distance(one, other) for one, other in zip(got, wanted, strict=True)]).sum()
