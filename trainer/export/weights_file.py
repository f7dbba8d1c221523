"""Files of weights under upstream's names: safetensors, BasicSR's .pth, and a folder for `from_pretrained`."""

import copy
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from trainer.export.check import results_of
from trainer.export.source import Origin
from trainer.files.atomic import atomically
from trainer.mistakes import Failure
from trainer.networks import Generator
from trainer.networks.loading.state_dicts import WEIGHTS, read_state_dict


def write_safetensors(origin: Origin, dtype: torch.dtype, file: Path) -> None:
    """One file with its configuration and training facts in the metadata: spandrel and its users open it, so do we."""
    with atomically(file) as aside:  # which has the permissions of other files, where safetensors would say 0600
        safetensors.torch.save_file(_tensors(origin.net, dtype), aside, metadata={"format": "pt", **origin.facts()})


def write_pth(origin: Origin, dtype: torch.dtype, file: Path) -> None:
    """`{"params_ema": ...}`, as Real-ESRGAN's releases."""
    with file.open("wb") as stream:  # else torch's own writer aborts on a full disk
        torch.save({"params_ema": _tensors(origin.net, dtype)}, stream)


def write_diffusers(origin: Origin, dtype: torch.dtype, folder: Path) -> None:
    """A folder with config.json and safetensors, as `from_pretrained` and the hub want it."""
    origin.net.save_config(folder)
    write_safetensors(origin, dtype, folder / WEIGHTS)


def results_of_weights(origin: Origin, dtype: torch.dtype, file: Path, pictures: list[Tensor]) -> list[Tensor]:
    """What the network makes of `pictures` with the weights in a file, which must be bitwise what was to be written."""
    found, wanted = read_state_dict(str(file), "--to").tensors, _tensors(origin.net, dtype)
    if found.keys() != wanted.keys() or not all(torch.equal(found[name], wanted[name]) for name in wanted):
        raise Failure(f"{file.name} does not hold the weights that were written to it: is the disk in order?")
    net = copy.deepcopy(origin.net)
    net.load_state_dict(found)
    return results_of(net, pictures)


def _tensors(net: Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """The state dict, each tensor contiguous and in memory of its own, floating-point ones as `dtype`."""
    state: dict[str, Tensor] = net.state_dict()
    return {
        name: (value.to(dtype) if value.is_floating_point() else value).clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
