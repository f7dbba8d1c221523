"""Spandrel's architectures as generators: `generator: {type: spandrel, arch: SPAN}`."""

import copy
import importlib
import inspect
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from trainer.mistakes import Mistake, suggestion
from trainer.networks.foreign import ForeignNetwork, output_shape
from trainer.networks.zoo.table import ARCHITECTURES, WINDOWED, Arch, Architecture, Sizes

WINDOWS = ("window_size", "split_size", "stripe_size", "split_size_1")
"""Arguments whose windows an input must fill: smaller ones cannot be padded by reflection."""
TRIAL_SIDE = 16


class SpandrelNetwork(ForeignNetwork):
    """One of spandrel's architectures; its state-dict names are those of released files.

    Parameters
    ----------
    arch : the name in `trainer.networks.zoo.table`; no other class is ever imported
    arguments : those of its class, but scale and bands
    multiple : the number of which an input's sides must be multiples, kept for readers of a saved network

    Raises ValueError if the class refuses the arguments; Mistake if spandrel cannot be imported.
    """

    @register_to_config
    def __init__(
        self,
        arch: Arch,
        arguments: Sizes,
        scale: int = 4,
        num_in_ch: int = 3,
        multiple: int = 1,  # noqa: ARG002 - kept by register_to_config
    ) -> None:
        super().__init__()
        facts = ARCHITECTURES.get(arch)
        if facts is None:
            raise ValueError(f"arch: got {arch!r:.80}; {suggestion(str(arch), list(ARCHITECTURES))}")
        self.facts, self.scale = facts, scale
        self.least = least_side(facts, arguments)
        self.hold(build_module(arch, facts, arguments, scale, num_in_ch))
        self.register_state_dict_pre_hook(fuse)

    @property
    def ends(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the tensors that are not there, or have another shape, at another scale or number of bands."""
        config, own = self.config, _shapes(self.net)
        others = [(scale, config.num_in_ch) for scale in self.facts.scales if scale != config.scale]
        if self.facts.not_rgb is not None:
            others.append((config.scale, config.num_in_ch + 1))
        changed: dict[str, None] = {}
        with torch.random.fork_rng(devices=[]):  # what is drawn later must not depend on this
            for scale, bands in others:
                other = _shapes(build_module(config.arch, self.facts, dict(config.arguments), scale, bands))
                changed |= dict.fromkeys(name for name in {**own, **other} if own.get(name) != other.get(name))
        return tuple(changed)

    @property
    def is_windowed(self) -> bool:
        """True if a pixel's result depends on where the picture begins, so that tiles differ from the whole."""
        return self.config.arch in WINDOWED

    def forward(self, *inputs: Tensor) -> Tensor:
        """Enlarge float [B, C, h, w] in [0, 1] to [B, C, scale*h, scale*w]; what is too small is filled up first."""
        (x,) = inputs
        height, width = x.shape[-2:]
        if height < self.least or width < self.least:
            x = F.pad(x, (0, max(0, self.least - width), 0, max(0, self.least - height)), mode="replicate")
            return self._applied(x)[..., : height * self.scale, : width * self.scale]
        return self._applied(x)

    def _applied(self, x: Tensor) -> Tensor:
        if self.facts.one_by_one and not self.training and len(x) > 1:
            return torch.cat([self.net(x[number : number + 1]) for number in range(len(x))])
        larger: Tensor = self.net(x.clone() if self.facts.writes_input else x)
        return larger


@dataclass(frozen=True, kw_only=True, slots=True)
class SpandrelGeneratorConfig:
    """A generator of spandrel's: any of its super-resolution architectures, under the names of released files.

    `pip install 'wildsr[zoo]'` brings spandrel. Its architectures have licences of their own, all permissive.
    """

    type: Literal["spandrel"] = "spandrel"
    arch: Arch
    """The architecture."""
    preset: str | None = None
    """A size of the paper's, such as light, S or L; null is the architecture's first."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of its class, in place of the preset's; the scale and the bands are the run's."""

    def __post_init__(self) -> None:
        presets = self.facts.presets
        if self.preset is not None and self.preset not in presets:
            raise ValueError(f"preset: got {self.preset!r} for {self.arch}; {suggestion(self.preset, list(presets))}")

    @property
    def facts(self) -> Architecture:
        """What is known of the architecture."""
        return ARCHITECTURES[self.arch]

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales that the architecture has."""
        return self.facts.scales

    @property
    def sizes(self) -> Sizes:
        """The arguments of the class, but scale and bands: the preset's, and those that are given."""
        presets = self.facts.presets
        return {**presets[self.preset or next(iter(presets))], **self.arguments}

    def input_multiple(self, scale: int) -> int:  # noqa: ARG002 - one signature for all generators
        """The number of which the sides of an input must be multiples."""
        return multiple_of_input(self.facts, self.sizes)

    def build(self, scale: int, bands: int) -> SpandrelNetwork:
        """Build the network and try it once on a small input; ValueError if it fails or gives another size."""
        multiple = self.input_multiple(scale)
        net = SpandrelNetwork(self.arch, self.sizes, scale, bands, multiple)
        side = math.lcm(multiple, TRIAL_SIDE)
        answer, wanted = output_shape(net, (1, bands, side, side)), (1, bands, scale * side, scale * side)
        if answer != wanted:
            raise ValueError(
                f"arguments: {self.arch} with {self.sizes} makes {list(answer)} of an input of "
                f"{[1, bands, side, side]}; x{scale} is {list(wanted)}"
            )
        if self.facts.idle:
            freeze_idle(net, side, bands)
        return net


def multiple_of_input(facts: Architecture, arguments: Mapping[str, Any]) -> int:
    """The number of which an input's sides must be multiples."""
    return facts.multiple if isinstance(facts.multiple, int) else int(arguments[facts.multiple])


def least_side(facts: Architecture, arguments: Mapping[str, Any]) -> int:
    """Fewest pixels of an input's side: the architecture's, or its largest window's."""
    windows = [arguments[name] for name in WINDOWS if name in arguments]
    sides = [side for window in windows for side in (window if isinstance(window, list | tuple) else [window])]
    return max([facts.least, *sides])


def class_of(arch: Arch, scale: int) -> type[nn.Module]:
    """The class of an architecture; ValueError for a scale that it lacks, Mistake without spandrel."""
    facts = ARCHITECTURES[arch]
    if scale not in facts.scales:
        raise ValueError(f"{arch} upscales by {', '.join(map(str, facts.scales))}, not by {scale}")
    where = (facts.where or f"{arch}.{arch}") if isinstance(facts.where, str) else facts.where[scale]
    module, name = where.split(".")
    import_spandrel("generator.type: spandrel")
    found: type[nn.Module] = getattr(importlib.import_module(f"spandrel.architectures.{module}"), name)
    return found


def import_spandrel(key: str) -> Any:
    """The package; Mistake, beginning with the configuration `key`, if it, or its torchvision, is not there."""
    try:
        return importlib.import_module("spandrel")
    except ImportError as error:
        raise Mistake(f"{key}: {error}. It takes the package spandrel: pip install 'wildsr[zoo]'.") from error
    except Exception as error:  # a torchvision that was built for another torch
        raise Mistake(
            f"{key}: spandrel is installed, but broken: {type(error).__name__}: {error}. It imports torchvision, which "
            f"must be built for this torch, {torch.__version__}."
        ) from error


def build_module(arch: Arch, facts: Architecture, arguments: Sizes, scale: int, bands: int) -> nn.Module:
    """The bare module; ValueError if its class refuses the scale, the bands or an argument."""
    cls = class_of(arch, scale)
    if bands != 3 and facts.not_rgb is None:
        raise ValueError(f"{arch} takes pictures of 3 bands, not of {bands}")
    known = list(inspect.signature(cls.__init__).parameters)[1:]
    own = [name for name in known if name != facts.scale and name not in facts.bands]
    if foreign := [name for name in arguments if name not in own]:
        raise ValueError(f"arguments.{foreign[0]}: no argument of {arch}; {suggestion(foreign[0], own)}")
    given = {**(facts.not_rgb or {} if bands != 3 else {}), **arguments, **dict.fromkeys(facts.bands, bands)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old names of torch's, and layers without a weight
            return cls(**given, **({facts.scale: scale} if facts.scale else {}))
    except Exception as error:  # whatever a class of somebody else's raises
        raise ValueError(f"arguments: {arch} refuses {arguments}: {type(error).__name__}: {error}") from error


@torch.no_grad()
def fuse(net: nn.Module, *_: Any) -> None:
    """State-dict hook: bring the kernels that re-parametrised convolutions evaluate with up to what was trained.

    Programs other than spandrel, which does it too, read those alone.
    """
    for part in net.modules():
        if callable(update := getattr(part, "update_params", None)):
            update()


def settled(net: SpandrelNetwork) -> nn.Module:
    """A copy of the bare module for a tracer: re-parametrised convolutions have their kernels once and for all."""
    module = copy.deepcopy(net.net)
    fuse(module)
    for part in module.modules():
        if callable(getattr(part, "update_params", None)):
            part.update_params = _nothing  # type: ignore[assignment]
    return module


def _nothing() -> None:
    """Leave the kernels as they are."""


def freeze_idle(net: nn.Module, side: int, bands: int) -> None:
    """Freeze the parameters that get no gradient: DistributedDataParallel would wait for theirs for ever."""
    kept = [buffer.clone() for buffer in net.buffers()]  # statistics, which see no such picture
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        net.train()(torch.zeros(1, bands, side, side)).sum().backward()
    for buffer, before in zip(net.buffers(), kept, strict=True):
        buffer.copy_(before)
    for parameter in net.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None


def _shapes(net: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in net.state_dict().items()}
