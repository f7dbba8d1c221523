"""Other programs that open our files, where they are installed."""

import importlib.util
import sys
import types
from typing import Any

import pytest


@pytest.fixture(scope="session")
def spandrel() -> Any:
    """The package by which chaiNNer and ComfyUI open networks: `pip install --no-deps spandrel`.

    It imports torchvision for three functions of architectures that are not ours. Where torchvision is absent, as
    beside a torch without CUDA, empty names stand in for them.
    """
    if importlib.util.find_spec("spandrel") is None:
        pytest.skip("spandrel is not installed: pip install --no-deps spandrel")
    if importlib.util.find_spec("torchvision") is None:
        for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
            sys.modules[name] = types.ModuleType(name)
        for function in ("InterpolationMode", "rotate", "normalize"):
            setattr(sys.modules["torchvision.transforms.functional"], function, None)
    import spandrel

    for name in [
        name for name in sys.modules if name.startswith("torchvision") and not hasattr(sys.modules[name], "__file__")
    ]:
        del sys.modules[name]  # or accelerate and torch would take them for the real ones
    return spandrel
