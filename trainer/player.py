"""A player of the game: a network, its optimizer and its clip."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019)."""

    type: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 2e-4
    """The full rate, before the schedule."""
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.0
    """Applied to the kernels of convolutions and dense layers alone, never to biases, norms or PReLU slopes."""
    max_grad_norm: float | None = None
    """The gradient's global norm is clipped to this; null leaves it."""

    def __post_init__(self) -> None:
        if self.learning_rate < 0:
            raise ValueError(f"learning_rate must not be negative, got {self.learning_rate}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be in [0, 1), got {list(self.betas)}")
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise ValueError(f"max_grad_norm must be positive or null, got {self.max_grad_norm}")


def build_optimizer(net: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of all of `net`'s parameters, in two groups: kernels (decayed) and the rest."""
    parameters = list(net.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if config.type == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)


class Player:
    """One network with the optimizer that trains it.

    Parameters
    ----------
    net : the network as Accelerate prepared it; call this one in training
    module : the same network bare; save this one
    """

    def __init__(
        self, accelerator: Accelerator, net: nn.Module, optimizer: torch.optim.Optimizer, config: OptimizerConfig
    ) -> None:
        self.accelerator = accelerator
        self.net, self.optimizer = accelerator.prepare(net, optimizer)
        self.module = net
        self.config = config
        self.learning_rate = config.learning_rate
        self.skipped = torch.zeros((), device=accelerator.device)
        self.skipped_in_a_row = torch.zeros((), device=accelerator.device)

    def load_moments(self, saved: dict[str, Any]) -> None:
        """Take over the moments of a saved optimizer; rate, betas, eps and decay stay those of the configuration."""
        own = [{key: value for key, value in group.items() if key != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(saved)  # which replaces the settings too, and a changed one would do nothing
        for group, settings in zip(self.optimizer.param_groups, own, strict=True):
            group.update(settings)

    def set_rate(self, factor: float) -> None:
        """Take the coming step at `factor` times the full rate."""
        self.learning_rate = self.config.learning_rate * factor
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate

    @contextmanager
    def micro_batch(self, number: int, of: int) -> Iterator[None]:
        """Surround forward and backward of one micro-batch; gradients travel between ranks on the last one only."""
        if number < of - 1:
            with self.accelerator.no_sync(self.net):
                yield
        else:
            yield

    def step(self) -> Tensor:
        """Clip, take the optimizer step, forget the gradient; the norm before clipping, a scalar on the device.

        Where the norm is not finite nothing changes but the two counters of skipped steps.
        """
        parameters = list(self.module.parameters())
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        # Gradients are averaged over the ranks before this, so one rank's NaN is everyone's and all skip together. The
        # fused optimizers leave weights and moments alone where `found_inf` is 1: the host need not know.
        bad = (~torch.isfinite(norm)).float()
        self.optimizer.optimizer.found_inf = bad
        self.skipped += bad
        self.skipped_in_a_row += 1
        self.skipped_in_a_row *= bad
        if self.config.max_grad_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.config.max_grad_norm, norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm
