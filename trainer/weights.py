"""Weights to begin with: from a run, an export, the hub, or a file of Real-ESRGAN's."""

from dataclasses import dataclass

from torch import nn

from trainer.mistakes import Mistake
from trainer.state_dicts import Role, read


@dataclass(frozen=True, kw_only=True, slots=True)
class InitConfig:
    """What a run starts from, when it does not resume."""

    generator: str | None = None
    """A run folder, an export, a .safetensors or .pth file, or a hub id; null starts from random weights."""
    discriminator: str | None = None
    """The same for the discriminator; a run folder gives that of its newest checkpoint."""


def load_weights(net: nn.Module, origin: str, key: str, role: Role = "generator") -> str:
    """Copy into `net` what fits of the weights at `origin`, and say how much that was.

    Raises Mistake, naming the configuration `key`, where nothing can be read or nothing fits.
    """
    stored = read(origin, key, role)
    found, own = stored.tensors, net.state_dict()
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise Mistake(
            f"{key}: none of the {len(found)} tensors in {stored.place} fits the network's {len(own)}; "
            f"it begins with {', '.join(list(found)[:3])}, the network with {', '.join(list(own)[:3])}."
        )
    net.load_state_dict(fitting, strict=False)
    return f"{key}: {len(fitting)} of {len(own)} tensors from {stored.place}"
