"""Optimizers by name: any class of torch.optim, Muon among them, or of another package."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn.modules.conv import _ConvNd
from torch.optim import Optimizer

from trainer.dotted_path import imported_name, made
from trainer.mistakes import suggestion
from trainer.optim.layout import lay_out_state
from trainer.optim.muon import MuonAndAdamW

OF_TORCH = {
    name.lower(): found
    for name, found in vars(torch.optim).items()
    if isinstance(found, type) and issubclass(found, Optimizer) and found is not Optimizer
}
ADAM = (torch.optim.Adam, torch.optim.AdamW)
"""Classes whose states are the same: a run may go on from one with the other."""
OURS = {"params", "lr", "weight_decay"}
"""Arguments of a class that are not among `arguments`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """The optimizer: Adam, AdamW, Muon, any other class of torch.optim, or one of another package.

    `learning_rate`, `betas`, `eps` and `weight_decay` go to every class that takes them. Adam and AdamW skip a step
    whose gradient is not finite without the host; for any other the host waits for the gradient's norm at each step.
    """

    type: str = "adam"
    """adam adds `weight_decay` to the gradient, adamw takes it from the weights; muon is Muon for kernels and AdamW for
    the rest. Otherwise a class of torch.optim by its name, or any by its path, `schedulefree.AdamWScheduleFree`."""
    learning_rate: float = 2e-4
    """The full rate, before the schedule."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the averages of the gradient and of its square, per step."""
    eps: float = 1e-8
    """Added to the denominator, against division by zero."""
    weight_decay: float = 0.0
    """Applied to the kernels of convolutions and dense layers alone, never to biases, norms or PReLU slopes."""
    max_grad_norm: float | None = None
    """The gradient's global norm is clipped to this; null leaves it."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the class, such as `{momentum: 0.9}` of SGD; they win over `betas` and `eps`."""

    def __post_init__(self) -> None:
        if self.learning_rate < 0:
            raise ValueError(f"learning_rate must not be negative, got {self.learning_rate}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be in [0, 1), got {list(self.betas)}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise ValueError(f"max_grad_norm must be positive or null, got {self.max_grad_norm}")
        if "." not in self.type and self.type.lower() not in OF_TORCH:
            names = [found.__name__ for found in OF_TORCH.values()]
            raise ValueError(f"type: got {self.type!r}; {suggestion(self.type, names)}, or package.module.Class")
        if taken := OURS.intersection(self.arguments):
            name = min(taken)
            key = {"lr": "learning_rate", "params": "nothing: all parameters are optimized"}.get(name, name)
            raise ValueError(f"arguments: got {name}, which is set by {key}")


def optimizer_class(config: OptimizerConfig) -> type[Optimizer]:
    """The class that `type` names; ValueError if there is none, or it is no optimizer."""
    if "." not in config.type:
        return OF_TORCH[config.type.lower()]
    try:
        found = imported_name(config.type)
    except ValueError as error:
        raise ValueError(f"type{str(error).removeprefix('path')}") from error
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise ValueError(f"type: {config.type} is no torch.optim.Optimizer")
    return found


def state_name(kind: str) -> str:
    """A name of the state of an optimizer of type `kind`: equal for types that can go on from each other's."""
    if "." in kind and not kind.startswith("torch.optim."):
        return kind
    name = kind.rpartition(".")[2].lower()
    return "adam" if name == "adamw" else name


def build_optimizer(net: nn.Module, config: OptimizerConfig) -> Optimizer:
    """The optimizer of all of `net`'s parameters, in two groups: kernels (decayed) and the rest.

    ValueError, naming the key, where the class refuses the arguments.
    """
    return _built(*kernels_and_rest(net), config)


KERNELS = (_ConvNd, nn.Linear, nn.MultiheadAttention)


def kernels_and_rest(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The kernels of convolutions and dense layers, and all other parameters, in the order of the network.

    Not by the dimensions alone: an imported network may have norms of [1, C, 1, 1], or tables of positions.
    """
    layers = (layer for layer in net.modules() if isinstance(layer, KERNELS))
    kernels = {p for layer in layers for p in layer.parameters() if p.ndim > 1}  # parametrized ones too
    return [p for p in net.parameters() if p in kernels], [p for p in net.parameters() if p not in kernels]


def _built(kernels: list[nn.Parameter], rest: list[nn.Parameter], config: OptimizerConfig) -> Optimizer:
    cls = optimizer_class(config)
    if cls is torch.optim.Muon:
        decayed = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
        adam = {"betas": config.betas, "eps": config.eps}
        build: Callable[..., Optimizer] = partial(MuonAndAdamW, kernels, rest)
        arguments = {**decayed, **adam, **config.arguments}
    else:
        build = partial(cls, _groups(kernels, rest, cls, config))
        fused = {"fused": True} if cls in ADAM else {}
        arguments = {**_shared_arguments(cls, config), **fused, **config.arguments}
    optimizer: Optimizer = made(build, config.type, arguments)
    return optimizer


def _groups(
    kernels: list[nn.Parameter], rest: list[nn.Parameter], cls: type[Optimizer], config: OptimizerConfig
) -> list[dict[str, Any]]:
    """The two groups of parameters, with their decay if the class has any."""
    groups: list[dict[str, Any]] = [{"params": kernels}, {"params": rest}]
    if "weight_decay" in takes(cls):
        groups[0]["weight_decay"], groups[1]["weight_decay"] = config.weight_decay, 0.0
    elif config.weight_decay:
        raise ValueError(f"weight_decay: got {config.weight_decay}; {cls.__name__} has none")
    return groups


def _shared_arguments(cls: type[Optimizer], config: OptimizerConfig) -> dict[str, Any]:
    """The rate, and `betas` and `eps` where the class has such, of that form: Adan has three betas, Adafactor two eps.

    ValueError for one that was set and cannot be given.
    """
    known, found = takes(cls), {"lr": config.learning_rate}
    fits = {
        "betas": isinstance(pair := known.get("betas"), tuple) and len(pair) == 2,
        "eps": isinstance(known.get("eps"), float),
    }
    for name, fit in fits.items():
        value = getattr(config, name)
        if fit:
            found[name] = value
        elif value != getattr(OptimizerConfig(), name) and name not in config.arguments:
            shown = list(value) if isinstance(value, tuple) else value
            raise ValueError(f"{name}: got {shown}; {cls.__name__} takes none like that; `arguments` has what it takes")
    return found


def takes(cls: type) -> Mapping[str, Any]:
    """The arguments of an optimizer's constructor, and of those of its bases, with their defaults."""
    return {
        name: parameter.default
        for base in reversed(cls.__mro__)
        for name, parameter in inspect.signature(base.__init__).parameters.items()  # type: ignore[misc]
    }


def try_out(config: OptimizerConfig, layout: torch.memory_format = torch.contiguous_format) -> Optimizer:
    """An optimizer of a kernel and a bias that took one step, was saved as a checkpoint does, and loaded.

    ValueError, naming the key, where that fails, as of one that needs a closure, or whose state is no plain values.
    The tensors are real ones, also where a network of fake ones is built to be counted, as those cannot be saved.
    """
    with unset_fake_temporarily():
        return _tried(config, layout)


def _tried(config: OptimizerConfig, layout: torch.memory_format) -> Optimizer:
    kernel, bias = nn.Parameter(torch.ones(3, 2, 3, 3).contiguous(memory_format=layout)), nn.Parameter(torch.ones(3))
    optimizer = _built([kernel], [bias], config)
    for parameter in (kernel, bias):
        parameter.grad = torch.ones_like(parameter)
    try:
        if averages_itself(optimizer):
            optimizer.train()  # type: ignore[attr-defined]
        optimizer.step()
        torch.save(optimizer.state_dict(), saved := BytesIO())
        saved.seek(0)
        load_state(optimizer, torch.load(saved, weights_only=True))
    except UnpicklingError as error:
        raise ValueError(
            f"type: {config.type} keeps more than tensors, numbers, text, lists and mappings, which no checkpoint holds"
        ) from error
    except Exception as error:  # whatever somebody else's optimizer raises
        raise ValueError(f"type: {config.type} cannot take a step here: {type(error).__name__}: {error}") from error
    return optimizer


def fitting_layout(config: OptimizerConfig, layout: torch.memory_format) -> torch.memory_format:
    """`layout`, or NCHW for an optimizer that cannot step kernels in it, as it views them as rows."""
    if layout == torch.contiguous_format:
        return layout
    try:
        try_out(config, layout)
    except ValueError:
        return torch.contiguous_format
    return layout


def averages_itself(optimizer: Optimizer) -> bool:
    """True for a schedule-free optimizer (Defazio et al. 2024): its `eval` puts its average into the weights."""
    return all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval"))


def load_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Take over a saved state; settings, which are what the class is constructed with, stay as they are.

    `load_state_dict` replaces them too, and a changed one would do nothing. Other entries of a group are state, such as
    the step count of schedule-free.
    """
    settings = takes(type(optimizer)).keys() - {"params"}
    own = [{key: value for key, value in group.items() if key in settings} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)
    lay_out_state(optimizer)


def check_state(optimizer: Optimizer, config: OptimizerConfig) -> None:
    """ValueError where a loaded state lacks what the settings need, such as Adam's where `amsgrad` is true now."""
    tried = [(key, state) for key, state in try_out(config).state.items() if isinstance(state, dict)]
    needed = {key.ndim > 1: state.keys() for key, state in tried}  # of a kernel, and of a vector
    for key, state in optimizer.state.items():
        if isinstance(state, dict) and state and (lacking := needed.get(key.ndim > 1, set()) - state.keys()):
            raise ValueError(f"optimizer.arguments: the saved state has no {', '.join(sorted(lacking))}")
