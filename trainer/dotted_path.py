"""Classes and functions of other packages by their dotted path, `package.module.Name`, and objects made by them."""

import importlib
from typing import Any


def imported_name(path: str) -> Any:
    """What has the dotted name `path`, package.module.Name; ValueError if there is nothing."""
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise ValueError(f"path: got {path!r}; must be package.module.Class")
    try:
        found = getattr(importlib.import_module(module_path), name, None)
    except Exception as error:  # a foreign module may raise anything while it is imported
        reason = f"{type(error).__name__}: {error}{advice(error)}"
        raise ValueError(f"path: {module_path} cannot be imported: {reason}") from error
    if found is None:
        raise ValueError(f"path: the module {module_path} has no {name}")
    return found


def advice(error: Exception) -> str:
    """The end of a message on a package that is absent; empty for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    return f"; install what has {error.name} in this environment, or put its folder on PYTHONPATH"


def made(cls: Any, path: str, arguments: dict[str, Any]) -> Any:
    """An object of a class of somebody else's; ValueError if it refuses the arguments."""
    try:
        return cls(**arguments)
    except Exception as error:  # likewise a constructor
        reason = f"{type(error).__name__}: {error}{advice(error)}"
        raise ValueError(f"arguments: {path} refuses {arguments}: {reason}") from error
