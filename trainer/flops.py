"""Floating-point operations of a step: its convolutions and products, counted on tensors that have shapes and no data.

They are the model's: what `gradient_checkpointing` computes again is not counted, nor are the degradation, the
sharpening of targets, the optimizers, or anything that is neither a convolution, a product nor attention.
"""

import copy
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from trainer.adversarial.phases import Phase
from trainer.base_model import BaseModel
from trainer.losses.adversarial import R1Penalty
from trainer.networks.layers.recomputing import keep
from trainer.networks.network import Network
from trainer.networks.srresnet import StochasticSRResNet
from trainer.objective import Objective, Targets, logits_of, weighted_sum
from trainer.steps import frozen


class Uncountable(Exception):
    """A network or a loss, as of another package, cannot be run without data; the message is its reason."""


class StepFlops:
    """The operations of this process's part of an optimizer step of a model, each kind of step counted once.

    Counting takes no memory for data, draws nothing, and touches no tensor of the model.
    """

    def __init__(self, model: BaseModel) -> None:
        self.model = model
        self.known: dict[tuple[bool, bool, bool, bool], int] = {}
        """By what distinguishes steps: pretraining, generator learns, discriminator learns, R1 is due."""

    def __call__(self, step: int) -> int:
        """Operations of optimizer step `step`; Uncountable where they cannot be counted."""
        phase, penalty = self.model.phase(step), penalty_at(self.model, step)
        kind = (phase.pretrain, phase.train_generator, phase.train_discriminator, penalty is not None)
        if kind not in self.known:
            try:
                self.known[kind] = self.model.batch.accumulation * count(self.model, phase, penalty)
            except Exception as error:  # whatever a foreign network raises that wants values
                raise Uncountable(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
        return self.known[kind]

    def per_second(self, steps: range, seconds: float) -> float:
        """Operations a second of these steps, of which each took so long; Uncountable as above."""
        return sum(map(self, steps)) / (len(steps) * seconds)


class Counter(TorchDispatchMode):
    """Operations of what runs inside, by torch's formulas. `FlopCounterMode` fails where a loss contains a gradient."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += int(formula(*args, **(kwargs or {}), out_val=result))
        return result


def penalty_at(model: BaseModel, step: int) -> R1Penalty | None:
    """The R1 penalty of a step; None where it is not due, or the discriminator does not learn."""
    game = model.config.adversarial
    if game is None or game.r1 is None or not model.phase(step).train_discriminator:
        return None
    return game.r1 if game.r1.due(step - max(0, game.g_pretrain_steps)) else None


def count(model: BaseModel, phase: Phase, penalty: R1Penalty | None) -> int:
    """Operations of one micro-batch: both networks, forward and backward, and those that losses ask."""
    config, batch = model.config, model.batch.per_device
    generator, discriminator, objective = without_data(model)
    side, bands = config.gt_size, config.images.bands
    real = torch.empty(batch, bands, side, side, device="meta")
    lq = torch.empty(batch, bands, side // config.scale, side // config.scale, device="meta")
    noise: list[Tensor] = []
    if isinstance(generator, StochasticSRResNet):
        noise.append(torch.empty(batch, generator.noise_dim, device="meta"))

    def averaged() -> Tensor:
        with torch.no_grad():
            result: Tensor = generator(lq, *noise)
        return result

    counter = Counter()
    with counter, torch.random.fork_rng(devices=[]):
        if phase.train_generator:
            targets = Targets(real, real, real)
            with frozen(discriminator):
                terms = objective.generator(generator(lq, *noise), targets, phase, discriminator, averaged)
                weighted_sum(terms).backward()  # type: ignore[no-untyped-call]
        else:
            averaged()
        if phase.train_discriminator and discriminator is not None:
            loss = weighted_sum(objective.discriminator(*logits_of(discriminator, real, real)))
            if penalty:
                pictures = real.clone().requires_grad_()
                loss = loss + penalty(discriminator(pictures), pictures)
            loss.backward()  # type: ignore[no-untyped-call]
    return counter.total


def without_data(model: BaseModel) -> tuple[Any, nn.Module | None, Objective]:
    """Copies of a model's networks and objective on the device `meta`, which compute shapes and compile nothing."""
    nets = [model.generator.net, model.discriminator.net if model.discriminator else None]
    objective = model.objective
    losses = [objective.perceptual, objective.contextual, *objective.modules.values()]
    memo: dict[int, Any] = {}
    for module in (*nets, *losses):
        if isinstance(module, nn.Module):
            memo |= {id(p): nn.Parameter(_shape_of(p), p.requires_grad) for p in module.parameters()}
            others = (value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor))
            memo |= {id(tensor): _shape_of(tensor) for tensor in (*module.buffers(), *others)}
    copies: Any = copy.deepcopy((*nets, objective, list(model.masks.values())), memo)
    generator, discriminator, objective, masks = copies
    for mask in masks:
        mask.places = mask.paths = None  # which have data
    keep(cast(Network, generator))
    for module in (generator, discriminator, objective.perceptual, objective.contextual, *objective.modules.values()):
        if isinstance(module, nn.Module):
            uncompile(module)
    return generator, discriminator, objective


def uncompile(net: nn.Module) -> None:
    """Drop compiled methods from a copy: they are functions of the original."""
    for part in net.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, partial) and hasattr(type(part), name):
                delattr(part, name)


def _shape_of(tensor: Tensor) -> Tensor:
    low = tensor.dtype in (torch.bfloat16, torch.float16)  # of VGG19, and here is no autocast
    return torch.empty_like(tensor, device="meta", requires_grad=False, dtype=torch.float32 if low else None)
