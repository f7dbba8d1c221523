"""The result that people use: the smoothed generator as `from_pretrained` opens it, complete or not at all."""

import shutil
from pathlib import Path

from torch import nn


def export(generator: nn.Module, folder: Path) -> None:
    """Write `generator`, a diffusers model, to `folder` (config.json and safetensors) and replace what lay there.

    Two renames stand between the old export and the new one; a death between them leaves both beside `folder`.
    """
    fresh, old = folder.with_name(f"{folder.name}.partial"), folder.with_name(f"{folder.name}.old")
    for stale in (fresh, old):
        shutil.rmtree(stale, ignore_errors=True)
    generator.save_pretrained(fresh)  # type: ignore[operator]
    for file in fresh.iterdir():
        file.chmod(0o644)  # safetensors creates 0600
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
