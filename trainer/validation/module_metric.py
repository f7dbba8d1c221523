"""A metric of another package, made from its dotted path."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from trainer.mistakes import Mistake


def build_metric(path: str, arguments: Mapping[str, Any], key: str) -> Callable[..., Any]:
    """What the class or function at `path` makes of `arguments`, on the CPU; Mistake, naming keys under `key`."""
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise Mistake(f"{key}.path: got {path!r}; must be package.module.Class.")
    try:
        maker = getattr(importlib.import_module(module_path), name, None)
    except Exception as error:  # a foreign module may raise anything while it is imported
        raise Mistake(f"{key}.path: {module_path} cannot be imported: {type(error).__name__}: {error}.") from error
    if not callable(maker):
        raise Mistake(f"{key}.path: the module {module_path} has no class or function {name}.")
    try:
        made: Callable[..., Any] = maker(**arguments)
    except Exception as error:  # likewise a constructor
        raise Mistake(f"{key}.arguments: {path} refuses them: {type(error).__name__}: {error}.") from error
    if not callable(made):
        raise Mistake(f"{key}.path: {path} makes {type(made).__name__}, which cannot be called with pictures.")
    return made.eval().requires_grad_(False) if isinstance(made, nn.Module) else made
