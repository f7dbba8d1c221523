"""Base of networks whose modules are of other packages: their state-dict names are the modules' own."""

from typing import Any

import torch
from torch import Tensor, nn

from trainer.networks.network import Network

PREFIX = "net."


class ForeignNetwork(Network):
    """A wrapper around `net`, whose tensors keep the names that they have in `net`."""

    net: nn.Module

    def hold(self, net: nn.Module) -> None:
        """Take a module in; call it once, at the end of the constructor."""
        self.net = net
        self.register_state_dict_post_hook(without_prefix)
        self.register_load_state_dict_pre_hook(with_prefix)

    @classmethod
    def from_pretrained(cls, origin: Any, **options: Any) -> Any:
        """As in diffusers, but without its shortcut of setting tensors by the names in the file, which lack `net.`."""
        return super().from_pretrained(origin, **{"low_cpu_mem_usage": False, **options})

    def forward(self, *inputs: Tensor) -> Tensor:
        """Apply the module."""
        out: Tensor = self.net(*inputs)
        return out


def without_prefix(_net: nn.Module, state: dict[str, Any], prefix: str, _local: dict[str, Any]) -> None:
    """State-dict hook: drop the wrapper's own part of the names."""
    for name in [name for name in state if name.startswith(prefix + PREFIX)]:
        state[prefix + name.removeprefix(prefix + PREFIX)] = state.pop(name)


def with_prefix(_net: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Hook before loading: add it again."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + PREFIX + name.removeprefix(prefix)] = state.pop(name)


def output_shape(net: nn.Module, shape: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Shape of the output of `net` for zeros of `shape`; its mode and statistics stay unchanged. ValueError if it
    fails."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        with torch.no_grad():
            out = net.eval()(torch.zeros(shape))
    except Exception as error:  # whatever a module of somebody else's raises
        raise ValueError(f"the module fails on an input of {list(shape)}: {type(error).__name__}: {error}") from error
    finally:
        for module, training in modes:
            module.training = training
    if not isinstance(out, Tensor):
        raise ValueError(f"the module answers with {type(out).__name__}; it must answer with one tensor")
    return tuple(out.shape)
