"""Every schedule and weight over whole runs of the real loop, against formulas written out here.

Each run has 24 steps: 8 of pretraining, which end exactly on a checkpoint, then the game. Each is made twice: at once,
and in pieces, stopped at the end of the phase, in the middle of the ramp, and between two steps of the generator.
"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from torch import Tensor

from tests.driving import Driver
from trainer.building.accelerator import make_accelerator
from trainer.config.metric_names import training_metric_names
from trainer.config.schema import RunConfig
from trainer.distributed.agreement import Decision, StopConsensus
from trainer.experiment import Experiment
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.start import fill_pool
from trainer.loop import fit

STEPS, PRETRAIN, RAMP, VALIDATE = 24, 8, 6, 2
STOPS = (8, 11, 16)
GAME = (
    f"max_train_steps={STEPS}",
    f"validation.validation_steps={VALIDATE}",
    "validation.draws=1",
    "validation.max_side=24",
    "validation.num_samples=0",
    "gt_size=16",
    "images.crop_size=24",
    "degradation={type: pipeline, steps: [{type: fit}]}",
    "queue_size=4",
    "checkpoints.checkpointing_steps=4",
    "telemetry.report_to=none",
    "adversarial.discriminator={type: UNetDiscriminatorSN, num_feat: 4}",
    "adversarial.pretrain_g_only=true",
    f"adversarial.g_pretrain_steps={PRETRAIN}",
    f"adversarial.adv_loss_ramp_steps={RAMP}",
    "adversarial.optimizer.learning_rate=1e-4",
    "optimizer.learning_rate=1e-3",
)
LOSSES = (
    "losses.ms_ssim={scales: 1}",
    "losses.focal_frequency={}",
    "losses.gradient={}",
    "losses.colour={}",
    "losses.luma={}",
    "losses.ldl={}",
    "losses.feature_matching={weight: 0.1}",
    "losses.modules=[{name: huber, path: torch.nn.HuberLoss, arguments: {delta: 0.1}}]",
)
Line = dict[str, Any]
Run = Callable[..., list[Line]]


class Watched(StopConsensus):
    """A control that notes the weights after every step, and asks the run to stop after one if told to."""

    def __init__(self, x: Experiment, stop: int | None) -> None:
        super().__init__(x.folder.path, None)
        self.x, self.stop = x, stop
        self.live: dict[int, Tensor] = {}
        self.average: dict[int, Tensor] = {}

    def agree(self, skipped: int) -> Decision:
        verdict, step = super().agree(skipped), self.x.state.step
        self.live[step] = flat(self.x.model.generator.net)
        self.average[step] = flat(self.x.state.ema.ema_model)
        return replace(verdict, stop="signal") if step == self.stop else verdict


Watch = list[Watched]


def flat(net: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()]).clone()


@pytest.fixture
def run(tiny: Callable[..., RunConfig], fresh_accelerate: Any) -> Run:  # noqa: ARG001
    """The lines of metrics.jsonl of a whole run; `stops` are the steps after which it is stopped and taken up."""

    def train(name: str, *overrides: str, stops: tuple[int, ...] = (), watch: Watch | None = None) -> list[Line]:
        for stop in (*stops, None):
            config = tiny(*GAME, *overrides, f"name={name}")
            x = assemble(config, make_accelerator(config))
            control = Watched(x, stop)
            fit(replace(x, control=control))
            if watch is not None:
                watch.append(control)
        lines = [json.loads(line) for line in x.folder.metrics.read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
        return lines

    return train


def timeless(lines: list[Line]) -> list[Line]:
    return [{key: value for key, value in line.items() if not key.startswith("speed/")} for line in lines]


def whole_and_in_pieces(run: Run, *overrides: str) -> list[Line]:
    """A run's lines, which must be those of the same run in pieces to the last bit."""
    whole, pieces = run("whole", *overrides), run("pieces", *overrides, stops=STOPS)
    assert timeless(whole) == timeless(pieces)
    return whole


def rise(share: float, kind: str) -> float:
    share = min(1.0, max(0.0, share))
    return share if kind == "linear" else (1 - math.cos(math.pi * share)) / 2


def fall(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


Schedule = tuple[str, Callable[[int], float]]
COLD: tuple[Schedule, ...] = (
    ("constant", lambda t: 1.0 + 0 * t),
    ("multistep, milestones: [6, 13], gamma: 0.1", lambda t: 0.1 ** ((t >= 6) + (t >= 13))),
    ("cosine, min_factor: 0.2", lambda t: 0.2 + 0.8 * fall(t / STEPS)),
    ("linear, min_factor: 0.1", lambda t: 1 - 0.9 * t / STEPS),
)
"""Schedules, and what multiple of the rate they give at step t, counted from 0."""


def warmed(steps: int) -> tuple[Schedule, ...]:
    """The same kinds of schedule after a warm-up of so many steps."""

    def after(t: int) -> float:
        return max(0, t - steps) / (STEPS - steps)

    return (
        (f"constant, lr_warmup_steps: {steps}", lambda t: rise(t / steps, "linear")),
        (
            f"multistep, milestones: [3, 13], lr_warmup_steps: {steps}, lr_warmup_type: cosine",
            lambda t: rise(t / steps, "cosine") * 0.5 ** ((t >= 3) + (t >= 13)),
        ),
        (
            f"cosine, lr_warmup_steps: {steps}, lr_warmup_type: cosine",
            lambda t: rise(t / steps, "cosine") * fall(after(t)),
        ),
        (f"linear, lr_warmup_steps: {steps}", lambda t: rise(t / steps, "linear") * (1 - after(t))),
    )


EARLY, LATE = warmed(5), warmed(PRETRAIN + 4)


@pytest.mark.parametrize(
    ("generator", "discriminator", "ramp"),
    [
        (EARLY[0], COLD[0], "linear"),
        (COLD[1], LATE[1], "cosine"),
        (EARLY[2], COLD[2], "linear"),
        (COLD[3], LATE[3], "cosine"),
    ],
    ids=["constant", "multistep", "cosine", "linear"],
)
def test_rates_phases_and_the_ramp(run: Run, generator: Schedule, discriminator: Schedule, ramp: str) -> None:
    lines = whole_and_in_pieces(
        run,
        f"lr_scheduler={{type: {generator[0]}}}",
        f"adversarial.lr_scheduler={{type: {discriminator[0]}}}",
        f"adversarial.adv_loss_schedule={ramp}",
        "adversarial.loss.weight=0.2",
    )
    for t, line in enumerate(lines):
        assert line["generator/learning_rate"] == pytest.approx(1e-3 * generator[1](t), rel=1e-12)
        assert line["discriminator/learning_rate"] == pytest.approx(1e-4 * discriminator[1](t), rel=1e-12)
        assert line["training/pretrain_phase"] == (t < PRETRAIN)
        weight = 0.2 * rise((t - PRETRAIN) / RAMP, ramp) if t >= PRETRAIN else 0.0
        assert line["training/adv_loss_weight"] == pytest.approx(weight, abs=1e-7)  # float32 on the device
        for key in ("training/loss_adversarial", "discriminator/loss_real", "discriminator/D(y)_prob"):
            assert (key in line) == (t >= PRETRAIN), key
        terms = line["training/loss_pixel"] + weight * line.get("training/loss_adversarial", 0)
        assert line["training/loss"] == pytest.approx(terms, rel=1e-5)
        if t >= PRETRAIN:
            sides = line["discriminator/loss_real"] + line["discriminator/loss_fake"]
            assert line["discriminator/loss"] == pytest.approx(sides, rel=1e-5)


def test_who_learns_when(run: Run) -> None:
    iters, init = 3, 4
    lines = whole_and_in_pieces(run, f"adversarial.net_d_iters={iters}", f"adversarial.net_d_init_iters={init}")
    for t, line in enumerate(lines):
        number = t - PRETRAIN + 1  # of the game, as upstream counts
        learns = t < PRETRAIN or (number > init and number % iters == 0)
        for key in ("training/loss_pixel", "training/grad_norm", "generator/update_ratio"):
            assert (key in line) == learns, (key, t)
        for key in ("discriminator/loss_fake", "discriminator/grad_norm", "discriminator/update_ratio"):
            assert (key in line) == (t >= PRETRAIN), (key, t)


def test_rates_on_a_plateau_fall_by_the_validations_that_count(run: Run) -> None:
    """The figure watched never improves: the rate falls after patience + 1 validations, then cooldown more each time.

    Each first one sets what is best: after the warm-up, for the generator under each new weight of the ramp, and for
    the discriminator of the game.
    """
    plateau = "type: plateau, metric: generator/learning_rate, mode: max"
    lines = whole_and_in_pieces(
        run,
        f"lr_scheduler={{{plateau}, lr_warmup_steps: 3, patience: 1, factor: 0.5, cooldown: 1, min_lr: 1e-4}}",
        f"adversarial.lr_scheduler={{{plateau}, patience: 0, factor: 0.1, cooldown: 2, min_lr: 5e-6}}",
    )

    def multiple(seen: int, patience: int, cooldown: int, factor: float, floor: float) -> float:
        waits = seen - 1 - (patience + 1)
        falls = 0 if waits < 0 else 1 + waits // (patience + 1 + cooldown)
        return max(floor, factor**falls)

    for t, line in enumerate(lines):
        warm = rise(t / 3, "linear")
        # Pretraining's count from step 4, after the warm-up; the game's from step 16, when the ramp is over.
        alone = min(t, PRETRAIN) // VALIDATE - 1
        full = max(0, (t - PRETRAIN - RAMP) // VALIDATE)
        fallen = multiple(alone, 1, 1, 0.5, 0) * multiple(full, 1, 1, 0.5, 0)
        assert line["generator/learning_rate"] == pytest.approx(1e-3 * warm * max(0.1, fallen), rel=1e-12), t
        in_game = max(0, t // VALIDATE - PRETRAIN // VALIDATE)
        wanted = 1e-4 * multiple(in_game, 0, 2, 0.1, 0.05)
        assert line["discriminator/learning_rate"] == pytest.approx(wanted, rel=1e-12), t
    assert lines[-1]["generator/learning_rate"] == pytest.approx(2.5e-4)
    assert lines[-1]["discriminator/learning_rate"] < 1e-4


def test_a_plateau_waits_for_a_figure_that_is_not_reported_yet(run: Run) -> None:
    """The generator watches the discriminator's gradient, which is there from the game on and never so high.

    It counts once the ramp is over.
    """
    plateau = "type: plateau, metric: discriminator/grad_norm, mode: max, patience: 0, threshold: 1e6, min_lr: 1e-9"
    lines = whole_and_in_pieces(run, f"lr_scheduler={{{plateau}, factor: 0.5}}")
    for t, line in enumerate(lines):
        observed = max(0, (t - PRETRAIN - RAMP) // VALIDATE)
        assert line["generator/learning_rate"] == pytest.approx(1e-3 * 0.5 ** max(0, observed - 1), rel=1e-12), t


def test_what_is_reported_is_what_a_plateau_may_watch(run: Run, tiny: Callable[..., RunConfig]) -> None:
    more = (
        *LOSSES,
        "losses.tv={weight: 0.1}",
        "adversarial.r1={interval: 2}",
        "adversarial.adaptive_d={threshold: 0.9}",
    )
    for name, overrides in (("all", (*more, "mixed_precision=fp16")), ("alone", ("adversarial=null",))):
        AcceleratorState._reset_state()  # the precision of the run before
        config = tiny(*GAME, *overrides)
        assert config.validation
        scaled = config.mixed_precision == "fp16"
        known = training_metric_names(config.losses, config.adversarial, config.telemetry.digest, scaled)
        known += config.validation.metric_names(config.scale)
        assert {key for line in timeless(run(name, *overrides)) for key in line} == {"step", *known}


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_the_average_begins_where_it_should_and_follows_its_decay(run: Run, power: float) -> None:
    begin, decay = 5, 0.8
    overrides = [f"ema={{decay: {decay}, warmup_power: {power}, update_after_step: {begin}}}"]
    watched: Watch = []
    lines = run("pieces", *overrides, stops=STOPS, watch=watched)
    assert timeless(lines) == timeless(run("whole", *overrides))
    live = {step: value for control in watched for step, value in control.live.items()}
    average = {step: value for control in watched for step, value in control.average.items()}
    wanted = live[1]
    for line in lines:
        step = line["step"]
        at = 0.0 if step <= begin + 1 else min(decay, 1 - (step - begin) ** -power) if power else decay
        assert line["ema/decay"] == pytest.approx(at, abs=1e-6)
        wanted = at * wanted + (1 - at) * live[step]
        torch.testing.assert_close(average[step], wanted, rtol=1e-5, atol=1e-7)
        assert torch.equal(average[step], live[step]) == (step <= begin + 1)


@pytest.mark.usefixtures("fresh_accelerate")
def test_validation_measures_the_live_weights_until_the_average_begins(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(*GAME, "ema={decay: 0.8, update_after_step: 2}", "optimizer.learning_rate=1e-2")
    x = assemble(config, make_accelerator(config))
    fill_pool(x)
    driver = Driver(x)
    assert x.validator is not None
    for step in range(1, 5):
        x.model.generator.set_rate(step, STEPS)
        driver.step()
        shown, live = (x.validator(net, step).metrics for net in (x.state.ema.ema_model, x.model.generator.net))
        assert (shown == live) == (step <= 3)


def test_all_losses_are_the_same_in_pieces(run: Run) -> None:
    """LDL's average and feature matching's discriminator among them; pretraining is by the pixel loss alone."""
    lines = whole_and_in_pieces(run, *LOSSES)
    for line in lines:
        assert ("training/loss_ldl" in line) == ("training/loss_feature_matching" in line) == (line["step"] > PRETRAIN)
    assert lines[-1]["training/loss_ldl"] > 0


def test_a_held_discriminator_is_the_same_in_pieces(run: Run) -> None:
    """Its lead is part of the state. The threshold is the middle of what such a run shows, so it goes both ways."""
    free = run("free")[PRETRAIN:]
    leads = sorted(line["discriminator/D(y)_prob"] - line["discriminator/D(G(x))_prob"] for line in free)
    threshold = leads[len(leads) // 2]
    lines = whole_and_in_pieces(run, f"adversarial.adaptive_d={{threshold: {threshold}, ema_decay: 0.5}}")
    smoothed = 0.0
    for line in lines[PRETRAIN:]:
        smoothed = 0.5 * smoothed + 0.5 * (line["discriminator/D(y)_prob"] - line["discriminator/D(G(x))_prob"])
        assert line["discriminator/paused"] == (smoothed > threshold)
        assert (line["discriminator/update_ratio"] == 0) == (smoothed > threshold)
    assert {line["discriminator/paused"] for line in lines[PRETRAIN:]} == {0.0, 1.0}
    assert all("discriminator/paused" not in line for line in lines[:PRETRAIN])


def test_given_pairs_among_clean_pictures_are_the_same_in_pieces(run: Run, tmp_path: Path) -> None:
    for folder, side in (("gt", 32), ("lq", 8)):
        (tmp_path / folder).mkdir()
        for number in range(3):
            Image.effect_mandelbrot((side, side), (-2 + number / 5, -1, 1, 1), 20).save(
                tmp_path / folder / f"{number}.png"
            )
    pairs = f"images.pairs={{type: pairs, gt: '{tmp_path / 'gt'}', lq: '{tmp_path / 'lq'}'}}"
    whole_and_in_pieces(run, pairs, "images.pair_prob=0.4", "telemetry.digest=true")


def test_the_best_of_pretraining_is_not_the_best_of_the_game(run: Run) -> None:
    """The generator learns nothing in the game, so no figure of it is better than pretraining's."""
    watch: Watch = []
    run("best", "lr_scheduler={type: multistep, milestones: [8], gamma: 1e-9}", "ema.decay=0.0", watch=watch)
    best = watch[0].x.state.best
    assert best is not None
    assert best.step > PRETRAIN


def test_fp16_goes_on_exactly_while_the_loss_scale_falls(run: Run) -> None:
    """A loss so large that more steps overflow than `max_skipped` permits."""
    settings = ("mixed_precision=fp16", "losses.pixel.weight=1e5", "max_skipped=4", "adversarial=null")
    lines = run("whole", *settings, "validation=null")
    assert timeless(lines) == timeless(run("pieces", *settings, "validation=null", stops=(6,)))
    skipped = [line["training/skipped_share"] for line in lines]
    fallen = int(sum(skipped))
    assert 6 < fallen < 16
    assert skipped == [1.0] * fallen + [0.0] * (STEPS - fallen)
    assert [line["generator/loss_scale"] for line in lines] == [2.0 ** (16 - min(t, fallen)) for t in range(STEPS)]


def test_both_players_scales_fall_by_themselves_and_go_on_exactly(run: Run) -> None:
    """The generator's overflows from the beginning, the discriminator's once there is a game; stopped amid both."""
    penalty = "adversarial.r1={gamma: 1e36, interval: 1}"
    settings = ("mixed_precision=fp16", "losses.pixel.weight=1e5", penalty, "telemetry.digest=true", "validation=null")
    lines = run("whole", *settings, "max_skipped=20")
    assert timeless(lines) == timeless(run("pieces", *settings, "max_skipped=20", stops=(5, PRETRAIN + 3)))
    fallen = dict.fromkeys(("generator", "discriminator"), 0)
    for t, line in enumerate(lines):
        for player in fallen:
            if t < PRETRAIN and player == "discriminator":
                assert "discriminator/loss_scale" not in line
                continue
            assert line[f"{player}/loss_scale"] == 2.0 ** (16 - fallen[player])
            norm = line["training/grad_norm" if player == "generator" else "discriminator/grad_norm"]
            fallen[player] += norm is None
    assert fallen["generator"] > 5
    assert fallen["discriminator"] > 2
    assert fallen["generator"] != fallen["discriminator"]


def test_schedule_free_and_muon_resume_to_the_last_bit(run: Run) -> None:
    """The average is the optimizer's own, in pieces as in one; it lags behind the weights that learn."""
    pytest.importorskip("schedulefree")
    watch: Watch = []
    others = ("optimizer.type=schedulefree.AdamWScheduleFree", "adversarial.optimizer.type=muon")
    whole = run("whole", *others, watch=watch)
    pieces = run("pieces", *others, stops=STOPS, watch=watch)
    assert timeless(whole) == timeless(pieces)
    assert torch.equal(watch[0].live[STEPS], watch[-1].live[STEPS])
    assert torch.equal(watch[0].average[STEPS], watch[-1].average[STEPS])
    assert not torch.equal(watch[0].average[STEPS], watch[0].live[STEPS])
