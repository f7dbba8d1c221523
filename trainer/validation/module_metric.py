"""A metric of another package, made from its dotted path."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from trainer.dotted_path import imported_name, made
from trainer.mistakes import Mistake


def build_metric(path: str, arguments: Mapping[str, Any], key: str) -> Callable[..., Any]:
    """What the class or function at `path` makes of `arguments`, on the CPU; Mistake, naming keys under `key`."""
    try:
        metric: Any = made(imported_name(path), path, dict(arguments))
    except ValueError as error:
        raise Mistake(f"{key}.{error}.") from error
    if not callable(metric):
        raise Mistake(f"{key}.path: {path} makes {type(metric).__name__}, which cannot be called with pictures.")
    return metric.eval().requires_grad_(False) if isinstance(metric, nn.Module) else metric
