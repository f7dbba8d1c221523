"""Networks that a Python program gives as modules, in place of configured ones."""

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar, Literal, NoReturn

from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from trainer.networks.foreign import ForeignNetwork, check_judge, joined, output_shape
from trainer.networks.network import Network

SCALES = (1, 2, 3, 4, 8)


class GivenNetwork(ForeignNetwork):
    """A module of a program's own; its state-dict names are the module's.

    Files made from it say in words what it was: they are opened by giving the module its weights.
    """

    def __init__(self, net: nn.Module, scale: int = 1, bands: int = 3) -> None:
        super().__init__()
        self.register_to_config(given=description(net), scale=scale, num_in_ch=bands)
        self.hold(net)


class GivenDiscriminator(GivenNetwork):
    """A program's own module that judges: its logits, or those of its scales side by side, [B, sum N]."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Apply the module."""
        out: Tensor = joined(self.net(*inputs))
        return out


def description(net: nn.Module) -> str:
    """A module in words: its class and its parameters."""
    return f"{type(net).__module__}.{type(net).__qualname__} of {sum(p.numel() for p in net.parameters())} parameters"


def bare(net: nn.Module) -> nn.Module:
    """The module inside of DistributedDataParallel, DataParallel or torch.compile: its tensors have its own names."""
    inside: nn.Module = extract_model_from_parallel(net, keep_torch_compile=False)
    return inside


def module_of(net: nn.Module) -> nn.Module:
    """The program's own module in a `GivenNetwork`; any other network itself."""
    return net.net if isinstance(net, GivenNetwork) else net


def as_generator(net: nn.Module, side: int, scale: int, bands: int) -> Network:
    """A module as a generator; ValueError if it does not upscale a picture of `side`, as in training, by `scale`."""
    if isinstance(net, Network):
        return net
    shape, wanted = (1, bands, side, side), (1, bands, side * scale, side * scale)
    if (answer := output_shape(net, shape)) != wanted:
        raise ValueError(f"net_g makes {list(answer)} of an input of {list(shape)}; x{scale} is {list(wanted)}")
    try:
        deepcopy(net)
    except Exception as error:  # whatever a module of somebody else's raises
        raise ValueError(f"net_g cannot be copied, as its average needs: {type(error).__name__}: {error}") from error
    return GivenNetwork(net, scale, bands)


def as_discriminator(net: nn.Module, gt_size: int, bands: int) -> Network:
    """A module as a discriminator; ValueError if it does not judge a patch of `gt_size`."""
    if isinstance(net, Network):
        return net
    judge = GivenDiscriminator(net, bands=bands)
    check_judge(judge, "net_d", (2, bands, gt_size, gt_size))
    return judge


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenGeneratorConfig:
    """A generator that a Python program gave as a module: `net_g`, as trainer/README.md shows."""

    scales: ClassVar[tuple[int, ...]] = SCALES

    type: Literal["python"] = "python"
    given: str
    """The module in words. A run that is resumed is given it again."""

    def input_multiple(self, scale: int) -> int:  # noqa: ARG002 - one signature for all generators
        """1: the sides that a module of somebody else's takes are not known."""
        return 1

    def build(self, scale: int, bands: int) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: a configuration does not hold the module."""
        raise ValueError(f"type: python, {self.given}: give the module again, as `net_g` in Python")


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenDiscriminatorConfig:
    """A discriminator that a Python program gave as a module: `net_d`."""

    type: Literal["python"] = "python"
    given: str
    """The module in words. A run that is resumed is given it again."""

    def problem(self, gt_size: int) -> str | None:  # noqa: ARG002 - one signature for all discriminators
        """None: what a module of somebody else's cannot judge is known once it is tried."""
        return None

    def build(self, gt_size: int, bands: int) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: a configuration does not hold the module."""
        raise ValueError(f"type: python, {self.given}: give the module again, as `net_d` in Python")
