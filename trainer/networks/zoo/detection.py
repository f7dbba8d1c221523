"""Networks found by spandrel from the tensors of a file, as released models are."""

import inspect
import json
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from trainer.networks.zoo.generator import SpandrelNetwork, class_of, import_spandrel, multiple_of_input
from trainer.networks.zoo.table import ARCHITECTURES, Arch


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
