"""The result that people use: the smoothed generator as `from_pretrained` opens it, complete or not at all."""

import shutil
from pathlib import Path

from torch import nn


def export(checkpoint: Path, generator: nn.Module, folder: Path) -> None:
    """Write the smoothed generator of a complete checkpoint to `folder`, and replace what lay there.

    `generator` is the diffusers model whose configuration goes with it. Two renames stand between the old export and
    the new one; a death between them leaves both beside `folder`, and the next checkpoint puts it right.
    """
    fresh, old = folder.with_name(f"{folder.name}.partial"), folder.with_name(f"{folder.name}.old")
    for stale in (fresh, old):
        shutil.rmtree(stale, ignore_errors=True)
    generator.save_config(fresh)  # type: ignore[operator]
    shutil.copy(checkpoint / "generator_ema.safetensors", fresh / "diffusion_pytorch_model.safetensors")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
