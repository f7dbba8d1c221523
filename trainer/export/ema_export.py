"""Export of the averaged generator to the run's `export` folder, which `from_pretrained` opens."""

import filecmp
import shutil
from pathlib import Path

from torch import nn

from trainer.checkpoints.names import EMA_WEIGHTS
from trainer.files.atomic import folder_atomically
from trainer.networks.loading.state_dicts import CONFIG, WEIGHTS


def export(checkpoint: Path, generator: nn.Module, folder: Path) -> None:
    """Write the averaged generator of a complete checkpoint to `folder`, atomically, replacing what it held.

    `generator` is the diffusers model whose configuration is written beside the weights. Raises OSError if the disk
    refuses; `folder` then holds what it held.
    """
    with folder_atomically(folder) as aside:
        generator.save_config(aside)  # type: ignore[operator]
        shutil.copy(checkpoint / EMA_WEIGHTS, aside / WEIGHTS)


def is_exported(checkpoint: Path, folder: Path) -> bool:
    """True if `folder` holds the averaged generator of a complete checkpoint, byte for byte."""
    files = checkpoint / EMA_WEIGHTS, folder / WEIGHTS
    return (folder / CONFIG).is_file() and files[1].is_file() and filecmp.cmp(*files, shallow=False)
