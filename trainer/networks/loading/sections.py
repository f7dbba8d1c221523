"""The `generator` section of a configuration for a network that is in a file."""

from dataclasses import fields
from typing import Any, get_args

from trainer.networks import Generator, GeneratorConfig, ImportedNetwork, SpandrelNetwork
from trainer.networks.loading.generators import scale_of

BY_CLASS: dict[str, Any] = {config.__name__.removesuffix("Config"): config for config in get_args(GeneratorConfig)}


def section_of(net: Generator) -> dict[str, Any]:
    """The section that builds a network like `net` at its own scale and bands; ValueError if none does."""
    kind = type(net).__name__
    if isinstance(net, SpandrelNetwork):
        return {"type": "spandrel", "arch": net.config.arch, "arguments": dict(net.config.arguments)}
    if isinstance(net, ImportedNetwork):
        config = net.config
        return {
            **{"type": "module", "path": config.path, "arguments": dict(config.arguments)},
            **{"scales": [scale_of(net)], "multiple": config.multiple},
        }
    if kind not in BY_CLASS:
        raise ValueError(f"a {kind} takes a configuration of its own")
    known = {field.name for field in fields(BY_CLASS[kind])}
    return {"type": kind, **{name: value for name, value in net.config.items() if name in known and name != "init"}}
