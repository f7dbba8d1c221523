"""Weights to begin with: from a run, an export, the hub, or a file of Real-ESRGAN's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from trainer.mistakes import Mistake

WRAPPERS = ("module.", "_orig_mod.", "ema_model.", "netG.", "generator.")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class InitConfig:
    """What a run starts from, when it does not resume."""

    generator: str | None = None
    """A run folder, an export, a .safetensors or .pth file, or a hub id; null starts from random weights."""
    discriminator: str | None = None
    """The same for the discriminator; a run folder gives that of its newest checkpoint."""


def load_weights(net: nn.Module, origin: str, key: str) -> str:
    """Copy into `net` what fits of the weights at `origin`, and say how much that was.

    Raises Mistake, naming the configuration `key`, where nothing can be read or nothing fits.
    """
    found = {_bare(name): value for name, value in _tensors(origin, key).items()}
    own = net.state_dict()
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise Mistake(
            f"{key}: none of the {len(found)} tensors in {origin} fits the network's {len(own)}; "
            f"it begins with {', '.join(list(found)[:3])}, the network with {', '.join(list(own)[:3])}."
        )
    net.load_state_dict(fitting, strict=False)
    return f"{key}: {len(fitting)} of {len(own)} tensors from {origin}"


def _tensors(origin: str, key: str) -> dict[str, Tensor]:
    """The state dict at a path, or of a hub repository."""
    path = Path(origin)
    if path.is_dir():
        exports = [path / WEIGHTS, path / "export" / WEIGHTS, path / "generator_ema.safetensors"]
        path = next((file for file in exports if file.is_file()), path)
        if path.is_dir():
            raise Mistake(f"{key}: the folder {origin} holds no run, no export and no checkpoint.")
    elif not path.exists():
        path = _from_hub(origin, key)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise half a dozen kinds for a file that is none of theirs
        raise Mistake(f"{key}: {origin} cannot be read as weights: {type(error).__name__}.") from error
    for part in ("params_ema", "params"):
        if isinstance(content.get(part), dict):
            content = content[part]
            break
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _from_hub(origin: str, key: str) -> Path:
    """Download an exported generator; Mistake where `origin` is neither a path nor a repository that can be reached."""
    from huggingface_hub import hf_hub_download

    if origin.count("/") != 1 or Path(origin).suffix in (".pth", ".pt", ".safetensors"):
        raise Mistake(f"{key}: {origin} does not exist.")
    try:
        return Path(hf_hub_download(origin, WEIGHTS))
    except Exception as error:  # the hub's client raises its own, httpx's and builtin errors
        raise Mistake(
            f"{key}: {origin} is no file or folder here, and the hub did not give it: {type(error).__name__}."
        ) from error


def _bare(name: str) -> str:
    """A tensor's name without what trainers wrap networks in."""
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name
