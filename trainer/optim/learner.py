"""One network with its optimizer, learning rate, clipping and loss scale."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trainer.optim.layout import move
from trainer.optim.loss_scale import LossScale
from trainer.optim.lr_plateau import LRSchedule, Plateau, PlateauState
from trainer.optim.optimizers import (
    ADAM,
    OptimizerConfig,
    averages_itself,
    build_optimizer,
    check_state,
    fitting_layout,
    load_state,
    state_name,
)


class Learner:
    """One network with the optimizer that trains it.

    Parameters
    ----------
    net : the network itself, whose weights are saved

    `ddp` is the same network as Accelerate prepared it: call this one in training. ValueError, naming the key, for an
    optimizer that cannot be built.
    """

    def __init__(self, accelerator: Accelerator, net: nn.Module, config: OptimizerConfig, schedule: LRSchedule) -> None:
        self.accelerator, self.net, self.config, self.schedule = accelerator, net, config, schedule
        self.layout = fitting_layout(config, getattr(net, "layout", torch.contiguous_format))
        with warnings.catch_warnings():
            # Its successor is not in every torch that we run on; and buffers must not be sent at each forward, which
            # changes them under a graph that still needs them.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            # before its optimizer, which may hold views of its weights, and whose moments have their layout
            move(net, accelerator.device, self.layout)
            self.ddp, self.optimizer = accelerator.prepare(net, build_optimizer(net, config))
        if averages_itself(self.optimizer.optimizer):
            self.optimizer.optimizer.train()
        self.plateau = PlateauState()
        self.learning_rate = config.learning_rate
        self.skipped = torch.zeros((), device=accelerator.device)
        self.skipped_in_a_row = torch.zeros((), device=accelerator.device)
        self.scale = LossScale(accelerator.device) if accelerator.mixed_precision == "fp16" else None

    def restart_average(self) -> None:
        """Begin a schedule-free optimizer anew at the weights as they are, which were loaded: its average is of others.

        Any other optimizer keeps its moments.
        """
        inner = self.optimizer.optimizer
        if averages_itself(inner):
            inner.load_state_dict(build_optimizer(self.net, self.config).state_dict())
            inner.train()

    def set_rate(self, step: int, total: int) -> None:
        """Set the rate of step `step` of `total`."""
        self.learning_rate = self.config.learning_rate * self.schedule.multiple(step, total) * self.plateau.multiple
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate

    def step_plateau(self, figures: Mapping[str, float], step: int, objective: float = 0.0) -> None:
        """Step a plateau schedule by the metrics of a validation after `step` steps, under `objective`.

        Without its metric nothing is observed: the network, or the term, had no part in the steps since the last one.
        Metrics that are never reported are refused with the configuration.
        """
        if not isinstance(self.schedule, Plateau) or step <= self.schedule.lr_warmup_steps:
            return
        if (value := figures.get(self.schedule.metric)) is not None:
            self.plateau = self.schedule.observed(self.plateau, value, self.config.learning_rate, objective)

    def forget(self, figures: str) -> None:
        """Reset the best value of a plateau schedule whose metric begins so: values from now on do not compare with it.

        The rate stays as it is."""
        if isinstance(self.schedule, Plateau) and self.schedule.metric.startswith(figures):
            self.plateau = replace(self.plateau, best=None, waited=0)

    @contextmanager
    def micro_batch(self, number: int, of: int) -> Iterator[None]:
        """Surround forward and backward of one micro-batch; gradients travel between ranks on the last one only."""
        if number < of - 1:
            with self.accelerator.no_sync(self.ddp):
                yield
        else:
            yield

    @property
    def diverging(self) -> Tensor:
        """Steps in a row that were skipped for another reason than a loss scale that is too high yet."""
        return self.scale.diverging if self.scale else self.skipped_in_a_row

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a micro-batch's share of the loss, times the loss scale where there is one."""
        self.accelerator.backward(loss * self.scale.value if self.scale else loss)

    def step(self, pause: Tensor | None = None) -> Tensor:
        """Unscale, clip, take the optimizer step, forget the gradient; the norm before clipping, on the device.

        If the norm is not finite, only the counters of skipped steps and the loss scale change; if `pause`, a scalar on
        the device, is 1, nothing does.
        """
        parameters = list(self.net.parameters())
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.scale:
            self.scale.unscale(gradients)
        norm = nn.utils.get_total_norm(gradients)
        # Gradients are averaged over the ranks before this, so one rank's NaN is everyone's and all skip together.
        bad = (~torch.isfinite(norm)).float()
        self.skipped += bad
        self.skipped_in_a_row += 1
        self.skipped_in_a_row *= bad
        if self.scale:
            self.scale.update(bad, pause)
        if self.config.max_grad_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.config.max_grad_norm, norm)
        self._step_unless(bad if pause is None else torch.maximum(bad, pause))
        self.optimizer.zero_grad()
        return norm

    def _step_unless(self, skipped: Tensor) -> None:
        """Take the optimizer step unless `skipped`, a scalar on the device, is 1; weights and state then stay.

        Fused Adam and AdamW read that from `found_inf`, and the host need not know. (Fused SGD does too, but leaves its
        momentum uninitialised where the first step is skipped.) Others keep counts on the host, so it waits here until
        the gradients are there, and then launches each step's kernels from an empty queue.
        """
        inner = self.optimizer.optimizer
        if type(inner) in ADAM and getattr(inner, "_step_supports_amp_scaling", False):
            inner.found_inf = skipped
            self.optimizer.step()
        elif not skipped.item():
            self.optimizer.step()

    def warm_up_ddp(self, forward: Callable[[nn.Module], Tensor]) -> None:
        """One backward pass from what `forward` makes of `ddp`; nothing of it remains.

        After the first one DistributedDataParallel arranges its buckets anew, by the order in which gradients came. A
        resumed run would take its first step before that and, on more than two ranks, add up the same gradients in
        another order than the uninterrupted one: rounded differently.
        """
        buffers = [buffer.clone() for buffer in self.net.buffers()]  # an imported network may change its own
        self.accelerator.backward(forward(self.ddp).sum())
        self.optimizer.zero_grad()
        for buffer, before in zip(self.net.buffers(), buffers, strict=True):
            buffer.copy_(before)

    @property
    def learning(self) -> list[nn.Parameter]:
        """The parameters that learn: all but those of a frozen backbone."""
        return [p for p in self.net.parameters() if p.requires_grad]

    def weights(self) -> list[Tensor]:
        """A copy of all parameters that learn: as much memory as they take."""
        return [p.detach().clone() for p in self.learning]

    def update_ratio(self, before: list[Tensor]) -> Tensor:
        """|w - before| / |before| over the parameters that learn, a scalar on the device. `before` is used up."""
        size = nn.utils.get_total_norm(before)
        for old, new in zip(before, self.learning, strict=True):
            old.sub_(new.detach())
        return nn.utils.get_total_norm(before) / size

    def state_dicts(self, name: str) -> dict[str, dict[str, Any]]:
        """State dicts of the network and its optimizer for a checkpoint, under the network's name."""
        return {name: self.net.state_dict(), f"{name}_optimizer": self.optimizer.state_dict()}

    def counters(self) -> dict[str, Any]:
        """Counters for a checkpoint: skipped steps, loss scale, and the state of a plateau."""
        counts = {"skipped": self.skipped.item(), "skipped_in_a_row": self.skipped_in_a_row.item()}
        scale = {"loss_scale": self.scale.counters()} if self.scale else {}
        return {**counts, **scale, "plateau": asdict(self.plateau), "optimizer": state_name(self.config.type)}

    def load(self, name: str, parts: dict[str, dict[str, Any]], progress: dict[str, Any]) -> None:
        """Load what `state_dicts` and `counters` returned once; the optimizer begins anew where another one saved."""
        self.net.load_state_dict(parts[name])
        if progress.get("optimizer", "adam") == state_name(self.config.type):
            load_state(self.optimizer.optimizer, parts[f"{name}_optimizer"])
            check_state(self.optimizer.optimizer, self.config)
        self.skipped.fill_(progress["skipped"])
        self.skipped_in_a_row.fill_(progress["skipped_in_a_row"])
        self.plateau = PlateauState(**progress["plateau"])
        if self.scale and (saved := progress.get("loss_scale")):  # which a run of another precision has none of
            self.scale.load(saved)
