"""One optimizer step of each player that learns at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.adversarial.phases import Phase
from trainer.experiment import Experiment
from trainer.images.levels import unit
from trainer.losses.adversarial import R1Penalty
from trainer.networks.layers.noise import noise_inputs
from trainer.networks.layers.spectral_norm import advance
from trainer.objective import Terms, logits_of, weighted_sum
from trainer.optim.compiling import uncompiled
from trainer.pairs.digest import digest
from trainer.pairs.synthesis import Pairs

Report = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the discriminator judges after the generator's step: a micro-batch's results, and real pictures."""

    fake: Tensor
    real: Tensor


def train_step(x: Experiment, pairs: Iterator[Pairs]) -> Report:
    """The generator's step over all micro-batches, then the discriminator's; what to report, on the device."""
    phase = x.phase(x.state.step)
    seen, report = generator_step(x, phase, pairs)
    if phase.train_discriminator:
        report |= discriminator_step(x, seen)
    if x.config.adversarial:
        report["training/pretrain_phase"] = _constant(x, phase.pretrain)
        report["training/adv_loss_weight"] = _constant(x, x.config.adversarial.loss.weight * phase.adversarial)
    return report


def generator_step(x: Experiment, phase: Phase, pairs: Iterator[Pairs]) -> tuple[list[Seen], Report]:
    """The generator against its objective; the discriminator only judges, and no gradient of it remains."""
    seen: list[Seen] = []
    report: Report = {}
    of = x.batch.accumulation
    critic = x.discriminator.net if x.discriminator else None
    with frozen(critic):
        for number in range(of):
            pair = next(pairs)
            if x.config.telemetry.digest:
                x.telemetry.add_digest(digest(pair))
            x.seed_generators(number, "generator")
            targets = x.targets(pair)
            with x.generator.micro_batch(number, of) if phase.train_generator else torch.no_grad():
                result = x.generator.ddp(unit(pair.lq), *noise_inputs(x.generator.net, x.keys(number)))
                if phase.train_generator:
                    with x.accelerator.autocast():
                        terms = x.objective.generator(result, targets, phase, critic)
                    loss = weighted_sum(terms)
                    x.generator.backward(loss / of)
                    _add(report, "training/loss", loss, terms, of)
            for name, picture in (("saturated_share", result.detach()), ("saturated_share_gt", targets.pixel)):
                report[f"training/{name}"] = report.get(f"training/{name}", 0) + saturated(picture) / of
            if phase.train_discriminator:
                seen.append(Seen(result.detach(), targets.adversarial))
    if phase.train_generator:
        norm, moved = update(x, "generator")
        report |= {"training/grad_norm": norm, "training/skipped_share": (~torch.isfinite(norm)).float(), **moved}
    return seen, report


def discriminator_step(x: Experiment, seen: list[Seen]) -> Report:
    """The discriminator against what the generator made in its step, before that step changed it."""
    player, config = x.discriminator, x.config.adversarial
    assert player is not None
    assert config is not None
    report: Report = {}
    of = len(seen)
    advance(player.net)  # one power iteration per step, whatever the ranks and micro-batches
    penalty = config.r1 if config.r1 and config.r1.due(x.state.step - max(0, config.g_pretrain_steps)) else None
    for number, batch in enumerate(seen):
        x.seed_generators(number, "discriminator")
        with player.micro_batch(number, of):
            on_real, on_fake = logits_of(player.ddp, batch.real, batch.fake)
            terms = x.objective.discriminator(on_real, on_fake)
            loss = weighted_sum(terms)
            _add(report, "discriminator/loss", loss, terms, of)
            if penalty:
                value = penalised(penalty, player.net, batch.real)
                loss = loss + value
                once = value.detach() / penalty.interval / of  # as it is, not as it counts
                report["discriminator/r1_penalty"] = report.get("discriminator/r1_penalty", 0) + once
            player.backward(loss / of)
        for name, logits in (("discriminator/D(y)_prob", on_real), ("discriminator/D(G(x))_prob", on_fake)):
            report[name] = report.get(name, 0) + config.loss.probability(logits) / of
    hold = None
    if x.state.restraint:
        hold = x.state.restraint.hold(report["discriminator/D(y)_prob"], report["discriminator/D(G(x))_prob"])
        report["discriminator/paused"] = hold
    norm, moved = update(x, "discriminator", hold)
    return report | {"discriminator/grad_norm": norm, **moved}


def penalised(penalty: R1Penalty, critic: nn.Module, real: Tensor) -> Tensor:
    """R1 by a forward of its own, in float32 and not compiled, for `critic` bare.

    In bf16 its gradient, a second derivative, would be off by up to a quarter; compiled code has none.
    """
    real = real.detach().requires_grad_()
    with uncompiled():
        return penalty(type(critic).forward(critic, real), real)  # the class's: Accelerate wraps the object's own


def update(x: Experiment, name: str, hold: Tensor | None = None) -> tuple[Tensor, Report]:
    """A player's step: its gradient's norm, and its loss scale, if any; at the last step before a report, how far the
    weights moved too.

    That only then, because to know it takes a copy of the weights.
    """
    player = x.state.players[name]
    report = {f"{name}/loss_scale": player.scale.value} if player.scale else {}
    if not x.cadence.at(x.state.step + 1).report:
        return player.step(hold), report
    before = player.weights()
    norm = player.step(hold)
    return norm, {**report, f"{name}/update_ratio": player.moved_since(before)}


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


def _add(report: Report, name: str, loss: Tensor, terms: Terms, of: int) -> None:
    """Add a micro-batch's loss, and its terms before weighting, to the means over the step."""
    for key, value in {name: loss, **{f"{name}_{term}": part.value for term, part in terms.items()}}.items():
        report[key] = report.get(key, 0) + value.detach() / of


def _constant(x: Experiment, value: float) -> Tensor:
    return torch.full((), float(value), device=x.accelerator.device)
