"""Other programs that open our files, where they are installed; and what reaches the disk, in its order."""

import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from trainer.files.atomic import ASIDE


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the disk from now on, in its order: `sync NAME` and `NAME becomes NAME`."""
    said: list[str] = []
    sync = os.fsync

    def known(path: Path) -> str:
        return "aside" if path.name.startswith(ASIDE) else path.name

    def syncing(descriptor: int) -> None:
        said.append(f"sync {known(Path(f'/proc/self/fd/{descriptor}').readlink())}")
        sync(descriptor)

    def moving(how: Any) -> Any:
        def move(path: Path, target: Path) -> Path:
            said.append(f"{known(path)} becomes {known(Path(target))}")
            return Path(how(path, target))

        return move

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", moving(Path.replace))
    monkeypatch.setattr(Path, "rename", moving(Path.rename))
    return said


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
