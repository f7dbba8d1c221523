"""The result that people use: the smoothed generator as `from_pretrained` opens it, complete or not at all."""

import filecmp
import shutil
from pathlib import Path

from torch import nn

from trainer.checkpoints.names import EMA_WEIGHTS
from trainer.files.atomic import folder_atomically
from trainer.networks.loading.state_dicts import CONFIG, WEIGHTS


def export(checkpoint: Path, generator: nn.Module, folder: Path) -> None:
    """Write the smoothed generator of a complete checkpoint to `folder`, and replace what lay there.

    `generator` is the diffusers model whose configuration goes with it. Raises OSError where the disk refuses; what lay
    in `folder` is then there still.
    """
    with folder_atomically(folder) as aside:
        generator.save_config(aside)  # type: ignore[operator]
        shutil.copy(checkpoint / EMA_WEIGHTS, aside / WEIGHTS)


def is_exported(checkpoint: Path, folder: Path) -> bool:
    """Whether `folder` holds the smoothed generator of a complete checkpoint, byte for byte."""
    files = checkpoint / EMA_WEIGHTS, folder / WEIGHTS
    return (folder / CONFIG).is_file() and files[1].is_file() and filecmp.cmp(*files, shallow=False)
