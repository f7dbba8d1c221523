"""Weights under upstream's tensor names: safetensors, BasicSR's .pth, and a folder for `from_pretrained`."""

import copy
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from trainer.export.check import results_of
from trainer.export.source import Source
from trainer.files.atomic import atomically
from trainer.mistakes import Failure
from trainer.networks import Generator
from trainer.networks.loading.state_dicts import WEIGHTS, read_state_dict


def write_safetensors(source: Source, dtype: torch.dtype, file: Path) -> None:
    """Write a safetensors file with configuration and provenance in its metadata; spandrel opens it, and so do we."""
    with atomically(file) as aside:  # for the umask's permissions; safetensors would use 0600
        safetensors.torch.save_file(_tensors(source.net, dtype), aside, metadata={"format": "pt", **source.facts()})


def write_pth(source: Source, dtype: torch.dtype, file: Path) -> None:
    """Write `{"params_ema": ...}`, the layout of Real-ESRGAN's releases."""
    with file.open("wb") as stream:  # else torch's own writer aborts on a full disk
        torch.save({"params_ema": _tensors(source.net, dtype)}, stream)


def write_diffusers(source: Source, dtype: torch.dtype, folder: Path) -> None:
    """Write a folder with config.json and safetensors, for `from_pretrained` and the hub."""
    source.net.save_config(folder)
    write_safetensors(source, dtype, folder / WEIGHTS)


def results_of_weights(source: Source, dtype: torch.dtype, file: Path, pictures: list[Tensor]) -> list[Tensor]:
    """Outputs of the network with a file's weights; Failure unless these are bitwise the weights that were written."""
    found, wanted = read_state_dict(str(file), "--to", as_written=True).tensors, _tensors(source.net, dtype)
    if found.keys() != wanted.keys() or not all(torch.equal(found[name], wanted[name]) for name in wanted):
        raise Failure(f"{file.name} does not hold the weights that were written to it: is the disk in order?")
    net = copy.deepcopy(source.net)
    net.load_state_dict(found)
    return results_of(net, pictures)


def _tensors(net: Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """The state dict, each tensor contiguous and in memory of its own, floating-point ones as `dtype`."""
    state: dict[str, Tensor] = net.state_dict()
    return {
        name: (value.to(dtype) if value.is_floating_point() else value).clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
