"""Networks found by spandrel from the tensors of a file, as released models are."""

import inspect
import json
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from trainer.networks.zoo.generator import TRIAL_SIDE, SpandrelNetwork, class_of, import_spandrel, multiple_of_input
from trainer.networks.zoo.table import ARCHITECTURES, Arch

ROUNDING = 1e-5
"""Largest difference of two networks' results that is taken for rounding."""


def is_installed() -> bool:
    """True if there is a spandrel to ask."""
    return find_spec("spandrel") is not None


def detected(tensors: Mapping[str, Tensor], key: str) -> SpandrelNetwork:
    """The network that spandrel finds in the names and shapes of `tensors`, with these weights.

    Raises:
        ValueError: spandrel does not know them, or they are of an architecture that is not in the table.
        Mistake: spandrel is not installed; it begins with the configuration or command-line `key`.
    """
    spandrel = import_spandrel(key)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about layers without a weight
            found = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(tensors))
    except Exception as error:  # spandrel's own and whatever its architectures raise
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"spandrel does not open it either: {reason or type(error).__name__}") from error
    module = found.model
    arch = _arch_of(module, int(found.scale)) if isinstance(module, nn.Module) else None
    if arch is None:
        raise ValueError(f"spandrel finds a {found.architecture.name} in it, which is not trained here")
    facts = ARCHITECTURES[arch]
    arguments = _arguments(module, {facts.scale, *facts.bands})
    net = SpandrelNetwork(
        arch, arguments, int(found.scale), int(found.input_channels), multiple_of_input(facts, arguments)
    )
    net.load_state_dict(module.state_dict())
    return net


def notes_on_detection(net: SpandrelNetwork) -> list[str]:
    """A sentence where spandrel, from its tensors alone, would open another network: sizes may be in no tensor.

    Programs that open the export by spandrel would compute something else, without a word. The network is tried on
    random pixels, in evaluation.
    """
    arch, side = net.config.arch, max(net.least, int(net.config.multiple), TRIAL_SIDE)
    try:
        with torch.random.fork_rng(devices=[]):  # what is drawn later must not depend on this
            found = detected({name: value.clone() for name, value in net.state_dict().items()}, "generator")
    except ValueError as error:
        return [f"generator: spandrel does not know {arch} with these arguments: its export opens here alone: {error}"]
    sizes = (found.config.arch, found.config.scale, found.config.num_in_ch)
    if sizes != (arch, net.config.scale, net.config.num_in_ch):
        return [
            f"generator: spandrel takes this {arch} x{net.config.scale} of {net.config.num_in_ch} bands for "
            f"{sizes[0]} x{sizes[1]} of {sizes[2]}: programs that open the export by it compute something else"
        ]
    x = torch.rand(1, net.config.num_in_ch, side, side, generator=torch.Generator().manual_seed(0))
    was_training = net.training
    with torch.no_grad():
        off = float((net.eval()(x) - found.eval()(x)).abs().max())
    net.train(was_training)
    if off < ROUNDING:
        return []
    own = {**_defaults(net.net), **net.config.arguments}
    other = {name: value for name, value in found.config.arguments.items() if "drop" not in name}
    differ = [f"{name} {value} for {own[name]}" for name, value in other.items() if own.get(name, value) != value]
    return [
        f"generator: spandrel cannot tell all sizes of this {arch} from its tensors, and takes "
        f"{', '.join(differ) or 'others'}: programs that open the export by it compute something else"
    ]


def _defaults(module: nn.Module) -> dict[str, Any]:
    """The defaults of a module's constructor."""
    parameters = inspect.signature(type(module).__init__).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


def _arch_of(module: nn.Module, scale: int) -> Arch | None:
    """The name in the table of an architecture's class."""
    possible = (arch for arch, facts in ARCHITECTURES.items() if scale in facts.scales)
    return next((arch for arch in possible if class_of(arch, scale) is type(module)), None)


def _arguments(module: Any, of_the_run: set[str | None]) -> dict[str, Any]:
    """The arguments that spandrel built a module with, but defaults that are classes or functions."""
    plain, known = {}, inspect.signature(type(module).__init__).parameters
    for name, value in module.hyperparameters.items():
        if name not in known or name in of_the_run or callable(value):
            continue
        plain[name] = json.loads(json.dumps(value, default=_number))  # tuples become lists, as in a configuration
    return plain


def _number(value: Any) -> Any:
    """A number of torch's or numpy's as Python's."""
    return value.item()
