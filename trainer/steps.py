"""One optimizer step of each network that learns at it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from trainer.adversarial.phases import Phase
from trainer.base_model import BaseModel
from trainer.images.levels import unit
from trainer.losses.adversarial import R1Penalty
from trainer.networks.layers.noise import noise_inputs
from trainer.networks.layers.spectral_norm import advance
from trainer.objective import Terms, logits_of, weighted_sum
from trainer.optim.compiling import uncompiled
from trainer.pairs.synthesis import PairBatch

Report = dict[str, Tensor]
"""Scalars on the device, by their names in metrics.jsonl."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A micro-batch of what the discriminator learns to tell apart: results of the generator, and real pictures.

    Both float [b, C, H, W], the results without gradient.
    """

    fake: Tensor
    real: Tensor


class MicroBatchMeans:
    """Means of scalars over the micro-batches of a step, on the device."""

    def __init__(self, accumulation: int) -> None:
        self.accumulation, self.report = accumulation, Report()

    def add(self, name: str, value: Tensor) -> None:
        """Add one micro-batch's value."""
        self.report[name] = self.report.get(name, 0) + value.detach() / self.accumulation

    def add_loss(self, name: str, loss: Tensor, terms: Terms) -> None:
        """Add a micro-batch's loss, and its terms before weighting as `{name}_{term}`."""
        self.add(name, loss)
        for term, part in terms.items():
            self.add(f"{name}_{term}", part.value)


def train_step(model: BaseModel, pairs: Sequence[PairBatch], measure_update: bool = False) -> Report:
    """The generator's step over all micro-batches, then the discriminator's; what to report, on the device.

    `measure_update` also reports how far the step moved the weights, which takes a copy of them.
    """
    phase = model.phase(model.state.step)
    judged, report = generator_step(model, phase, pairs, measure_update)
    if phase.train_discriminator:
        report |= discriminator_step(model, judged, measure_update)
    if model.config.adversarial:
        report["training/pretrain_phase"] = _constant(model, phase.pretrain)
        weight = model.config.adversarial.loss.weight * phase.adversarial
        report["training/adv_loss_weight"] = _constant(model, weight)
    return report


def generator_step(
    model: BaseModel, phase: Phase, pairs: Sequence[PairBatch], measure_update: bool = False
) -> tuple[list[Judged], Report]:
    """The generator against its objective; the discriminator only judges, and no gradient of it remains."""
    judged: list[Judged] = []
    generator, accumulation, part = model.generator, len(pairs), model.stopwatch.part
    means = MicroBatchMeans(accumulation)
    discriminator = model.discriminator.net if model.discriminator else None
    with frozen(discriminator):
        for number, pair in enumerate(pairs):
            model.seed_generators(number, "generator")
            with part("targets"):
                targets = model.targets(pair)
            with generator.micro_batch(number, accumulation) if phase.train_generator else torch.no_grad():
                with part("generator forward"):
                    noise = noise_inputs(generator.net, model.keys(number, len(pair.lq)))
                    result = generator.ddp(unit(pair.lq, generator.layout), *noise)
                if phase.train_generator:
                    with part("losses"), model.accelerator.autocast():
                        average = partial(averaged, model, pair, noise)
                        terms = model.objective.generator(result, targets, phase, discriminator, average)
                    loss = weighted_sum(terms)
                    with part("generator backward"):
                        generator.backward(loss / accumulation)
                    means.add_loss("training/loss", loss, terms)
            model.output = result.detach()
            means.add("training/saturated_share", saturated(model.output))
            means.add("training/saturated_share_gt", saturated(targets.pixel))
            if phase.train_discriminator:
                judged.append(Judged(model.output, targets.adversarial))
    report = means.report
    if phase.train_generator:
        norm, moved = update(model, "generator", measure_update)
        report |= {"training/grad_norm": norm, "training/skipped_share": (~torch.isfinite(norm)).float(), **moved}
    return judged, report


@torch.no_grad()
def averaged(model: BaseModel, pair: PairBatch, noise: Sequence[Tensor]) -> Tensor:
    """The result of the generator's moving average for a micro-batch, float [b, C, H, W] without gradient."""
    result: Tensor = model.state.ema.ema_model(unit(pair.lq, model.generator.layout), *noise)
    return result


def discriminator_step(model: BaseModel, judged: Sequence[Judged], measure_update: bool = False) -> Report:
    """The discriminator against what the generator made in its step, before that step changed it."""
    discriminator, config = model.discriminator, model.config.adversarial
    assert discriminator is not None
    assert config is not None
    accumulation, means, part = len(judged), MicroBatchMeans(len(judged)), model.stopwatch.part
    advance(discriminator.net)  # one power iteration per step, whatever the ranks and micro-batches
    own_step = model.state.step - max(0, config.g_pretrain_steps)
    penalty = config.r1 if config.r1 and config.r1.due(own_step) else None
    for number, batch in enumerate(judged):
        model.seed_generators(number, "discriminator")
        with discriminator.micro_batch(number, accumulation):
            with part("discriminator forward"):
                on_real, on_fake = logits_of(discriminator.ddp, batch.real, batch.fake)
                terms = model.objective.discriminator(on_real, on_fake)
                loss = weighted_sum(terms)
                means.add_loss("discriminator/loss", loss, terms)
                if penalty:
                    value = penalised(penalty, discriminator.net, batch.real)
                    loss = loss + value
                    means.add("discriminator/r1_penalty", value / penalty.interval)  # as it is, not as it counts
            with part("discriminator backward"):
                discriminator.backward(loss / accumulation)
        means.add("discriminator/D(y)_prob", config.loss.probability(on_real))
        means.add("discriminator/D(G(x))_prob", config.loss.probability(on_fake))
    report, pause = means.report, None
    if model.state.adaptive_d:
        pause = model.state.adaptive_d.pause(report["discriminator/D(y)_prob"], report["discriminator/D(G(x))_prob"])
        report["discriminator/paused"] = pause
    norm, moved = update(model, "discriminator", measure_update, pause)
    return report | {"discriminator/grad_norm": norm, **moved}


def penalised(penalty: R1Penalty, discriminator: nn.Module, real: Tensor) -> Tensor:
    """R1 by a forward of its own, in float32 and not compiled, for a bare discriminator.

    In bf16 its gradient, a second derivative, would be off by up to a quarter; compiled code has none.
    """
    real = real.detach().requires_grad_()
    with uncompiled():  # and the class's forward: Accelerate wraps the object's own
        return penalty(type(discriminator).forward(discriminator, real), real)


def update(
    model: BaseModel, name: str, measure_update: bool = False, pause: Tensor | None = None
) -> tuple[Tensor, Report]:
    """The optimizer step of a network: its gradient's norm, its loss scale, if any, and how far its weights moved."""
    learner = model.state.learners[name]
    report = {f"{name}/loss_scale": learner.scale.value} if learner.scale else {}
    with model.stopwatch.part(f"{name} optimizer"):
        if not measure_update:
            return learner.step(pause), report
        before = learner.weights()
        norm = learner.step(pause)
        return norm, {**report, f"{name}/update_ratio": learner.update_ratio(before)}


def saturated(picture: Tensor) -> Tensor:
    """The share of values at or beyond black and white, a scalar; `picture` is float, not clamped."""
    return ((picture <= 0) | (picture >= 1)).float().mean()


@contextmanager
def frozen(net: nn.Module | None) -> Iterator[None]:
    """A network through which gradients pass and in which none are left; what was frozen before stays so after."""
    learning = [p for p in net.parameters() if p.requires_grad] if net else []
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _constant(model: BaseModel, value: float) -> Tensor:
    return torch.full((), float(value), device=model.accelerator.device)
