"""The result that people use: the smoothed generator as `from_pretrained` opens it, complete or not at all."""

import filecmp
import shutil
from pathlib import Path

from torch import nn

from trainer.files.atomic import aside_of, remove, settle
from trainer.networks.loading.state_dicts import CONFIG, WEIGHTS


def export(checkpoint: Path, generator: nn.Module, folder: Path) -> None:
    """Write the smoothed generator of a complete checkpoint to `folder`, and replace what lay there.

    `generator` is the diffusers model whose configuration goes with it. Raises OSError where the disk refuses; what lay
    in `folder` is then there still.
    """
    fresh = aside_of(folder)
    fresh.mkdir()
    try:
        generator.save_config(fresh)  # type: ignore[operator]
        shutil.copy(checkpoint / "generator_ema.safetensors", fresh / WEIGHTS)
        settle(fresh, folder)
    except BaseException:
        remove(fresh)
        raise


def is_exported(checkpoint: Path, folder: Path) -> bool:
    """Whether `folder` holds the smoothed generator of a complete checkpoint, byte for byte."""
    files = checkpoint / "generator_ema.safetensors", folder / WEIGHTS
    return (folder / CONFIG).is_file() and files[1].is_file() and filecmp.cmp(*files, shallow=False)
