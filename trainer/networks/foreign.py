"""Base of networks whose modules are of other packages: their state-dict names are the modules' own."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainer.networks.network import Network

PREFIX = "net."


class ForeignNetwork(Network):
    """A wrapper around `net`, whose tensors keep the names that they have in `net`."""

    net: nn.Module
    layout: ClassVar[torch.memory_format] = torch.contiguous_format  # its `view`s may need NCHW

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


def joined(answer: Any) -> Any:
    """The logits of several scales, each [B, ...], side by side, [B, sum N]; any other answer as it is."""
    several = isinstance(answer, list | tuple) and len(answer) > 0
    if several and all(isinstance(part, Tensor) and part.ndim > 0 for part in answer):
        return torch.cat([part.flatten(1) if part.ndim > 1 else part[:, None] for part in answer], dim=1)
    return answer


def output_shape(net: nn.Module, shape: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Shape of the output of `net` for zeros of `shape`; its mode and statistics stay unchanged. ValueError if it
    fails."""
    with torch.no_grad():
        return tuple(_tried(net, torch.zeros(shape)).shape)


def check_judge(net: nn.Module, name: str, shape: tuple[int, int, int, int]) -> None:
    """ValueError, which calls it `name`, unless `net` gives logits of each of the patches of `shape` and can learn.

    Its mode and statistics stay unchanged.
    """
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if not learning:
        raise ValueError(f"{name} has no parameter that learns (requires_grad): a discriminator needs some")
    count = shape[0]
    try:
        for parameter in learning:  # so that only the patches' gradient is seen, and without a backward pass
            parameter.requires_grad_(False)
        answer = _tried(net, torch.zeros(shape, requires_grad=True))
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
    if not answer.ndim:
        raise ValueError(f"{name} answers {count} patches with one number; it must give logits of each, [{count}, ...]")
    if len(answer) != count:
        raise ValueError(f"{name} makes {list(answer.shape)} of {count} patches; the first size must be {count}")
    if not answer.requires_grad:
        raise ValueError(
            f"{name} lets no gradient through to its patches, from which the generator learns: freeze a backbone by "
            f"requires_grad_(False), not by torch.no_grad() or detach()"
        )


def _tried(net: nn.Module, patches: Tensor) -> Tensor:
    """What `net` answers in evaluation mode."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        out = net.eval()(patches)
    except Exception as error:  # whatever a module of somebody else's raises
        shape = list(patches.shape)
        raise ValueError(f"the module fails on an input of {shape}: {type(error).__name__}: {error}") from error
    finally:
        for module, training in modes:
            module.training = training
    if not isinstance(out, Tensor):
        kinds = f" of {', '.join(type(part).__name__ for part in out)}" if isinstance(out, list | tuple) else ""
        raise ValueError(f"the module answers with {type(out).__name__}{kinds}; it must answer with one tensor")
    return out
