"""The steps of both players: who moves when, and no gradient where it does not belong."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from types import MethodType
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from degradations.keyed_random import Keys
from degradations.operations.sharpen import usm_sharpen
from tests.driving import Driver
from trainer.adversarial.phases import PhasesConfig
from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.experiment import Experiment
from trainer.lifecycle.assemble import assemble
from trainer.losses import LossesConfig, PerceptualLoss
from trainer.losses.adversarial import AdversarialLoss, R1Penalty
from trainer.networks.layers.noise import standard_noise
from trainer.networks.layers.spectral_norm import SpectralConv2d
from trainer.objective import Objective, Targets, logits_of
from trainer.steps import discriminator_step, generator_step, penalised, saturated, train_step

GAME = ("adversarial.discriminator.type=UNetDiscriminatorSN", "adversarial.discriminator.num_feat=4", "queue_size=0")
Build = Callable[..., Experiment]


@pytest.fixture
def build(tiny: Callable[..., RunConfig], fresh_accelerate: Any) -> Build:  # noqa: ARG001
    """An experiment from the tiny configuration with a discriminator."""

    def make(*overrides: str) -> Experiment:
        config = tiny("validation=null", "telemetry.report_to=none", *GAME, *overrides)
        AcceleratorState._reset_state()  # the precision of an experiment before
        x = assemble(config, make_accelerator(config))
        for player in x.state.learners.values():
            player.set_rate(10, 20)  # past the warm-up
        return x

    return make


def weights(net: nn.Module) -> list[Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def no_gradient(net: nn.Module) -> bool:
    return all(parameter.grad is None for parameter in net.parameters())


def test_each_step_leaves_no_gradient_in_the_other_player(build: Build) -> None:
    x = build("batch.per_device=2", "batch.global_size=4")
    generator, critic = x.model.generator.net, x.state.learners["discriminator"].net
    before = weights(critic)
    judged, report = generator_step(x.model, x.model.phase(0), Driver(x).pairs())
    assert len(judged) == 2  # micro-batches
    assert no_gradient(critic)
    assert same(before, weights(critic))
    assert all(parameter.requires_grad for parameter in critic.parameters())
    assert "training/loss_adversarial" in report
    before = weights(generator)
    discriminator_step(x.model, judged)
    assert no_gradient(generator)
    assert no_gradient(critic)  # its own was used and forgotten
    assert same(before, weights(generator))


class Foreign(nn.Module):
    """An imported discriminator: features that are not trained, and a BatchNorm of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, 2, 1).requires_grad_(False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.features(x)))
        return logits


def test_an_imported_discriminator_keeps_its_frozen_parts_and_sees_real_and_fake_apart(build: Build) -> None:
    foreign = f"adversarial.discriminator={{type: module, path: {__name__}.Foreign}}"
    x = build("batch.per_device=4", foreign)
    critic = x.state.learners["discriminator"].net.net
    assert isinstance(critic, Foreign)
    judged: list[Tensor] = []
    critic.norm.register_forward_pre_hook(lambda _, args: judged.append(args[0]))
    features = weights(critic.features)
    Driver(x).step()
    assert same(features, weights(critic.features))
    assert not any(parameter.requires_grad for parameter in critic.features.parameters())
    assert all(parameter.requires_grad for parameter in critic.head.parameters())
    assert [len(batch) for batch in judged] == [4, 4, 4]  # in the generator's step, then real and fake, never together


def test_the_discriminator_sits_idle_during_pretraining(build: Build) -> None:
    x = build("adversarial.pretrain_g_only=true", "adversarial.g_pretrain_steps=2")
    critic, driver = x.state.learners["discriminator"].net, Driver(x)
    before = weights(critic)
    for step in range(2):
        report = driver.step()
        assert report["training/pretrain_phase"] == 1
        assert sorted(key for key in report if "loss_" in key) == ["training/adv_loss_weight", "training/loss_pixel"]
        assert same(before, weights(critic)), step  # to its power iterations
    report = driver.step()
    assert report["training/pretrain_phase"] == 0
    assert not same(before, weights(critic))
    assert 0 < report["discriminator/D(y)_prob"] < 1
    assert 0 < report["discriminator/D(G(x))_prob"] < 1


def test_the_generator_waits_where_it_is_told_to(build: Build) -> None:
    x = build("adversarial.net_d_iters=2")
    driver = Driver(x)
    for step in range(4):
        before, critic = weights(x.model.generator.net), weights(x.state.learners["discriminator"].net)
        driver.step()
        assert same(before, weights(x.model.generator.net)) == (step % 2 == 0)
        assert not same(critic, weights(x.state.learners["discriminator"].net))


def test_the_generators_step_depends_on_the_adversarial_weight(build: Build) -> None:
    moved = []
    for weight in ("0.1", "10.0"):
        x = build(f"adversarial.loss.weight={weight}")
        generator_step(x.model, x.model.phase(0), Driver(x).pairs())
        moved.append(weights(x.model.generator.net))
    assert not same(*moved)


def test_the_power_iteration_is_made_once_per_step_whatever_the_micro_batches(build: Build) -> None:
    vectors = []
    for per_device in (1, 4):
        x = build(f"batch.per_device={per_device}")
        Driver(x).step()
        state = x.state.learners["discriminator"].net.state_dict()
        vectors.append([value for name, value in state.items() if name.endswith("weight_u")])
    assert same(*vectors)


@pytest.mark.parametrize("flag", ["l1_gt_usm", "gan_gt_usm"])
def test_a_loss_aims_at_the_sharpened_truth_if_told_to(build: Build, flag: str) -> None:
    x = build("gt_usm=false", "degrade_gt_usm=true", f"{flag}=true")
    pair = Driver(x).pairs()[0]
    targets = x.model.targets(pair)
    plain = pair.gt.float() / 255
    assert torch.equal(targets.pixel, plain) == (flag != "l1_gt_usm")
    assert torch.equal(targets.adversarial, plain) == (flag != "gan_gt_usm")
    assert torch.equal(targets.perceptual, plain)


def test_a_held_discriminator_stays_as_it_is(build: Build) -> None:
    """To its power iterations, which follow from the weights. The generator learns on."""
    x = build("adversarial.adaptive_d={threshold: 0.5, ema_decay: 0.0}")
    critic, driver = x.state.learners["discriminator"].net, Driver(x)
    adaptive_d = x.state.adaptive_d
    assert adaptive_d is not None
    bias = dict(critic.named_parameters())["conv9.bias"]
    with torch.no_grad():
        bias.fill_(0.0)
    assert driver.step()["discriminator/paused"] == 0
    pause = adaptive_d.pause
    adaptive_d.pause = lambda real, fake: pause(real * 0 + 0.9, fake * 0 + 0.1)  # type: ignore[method-assign]
    before, generator = [p.clone() for p in critic.parameters()], weights(x.model.generator.net)
    report = driver.step()
    assert report["discriminator/paused"] == 1
    assert report["discriminator/grad_norm"] > 0
    assert same(before, list(critic.parameters()))
    assert no_gradient(critic)
    assert not same(generator, weights(x.model.generator.net))


def test_each_player_scales_its_losses_by_its_own_scale_and_accelerate_none(build: Build) -> None:
    """R1 too, which is most of this gradient. What one player cannot stand is halved for it alone, and ends no run."""
    x = build(r1 := "adversarial.r1={gamma: 1000, interval: 1}")
    plain = Driver(x).step()["discriminator/grad_norm"].item()
    for scales in ((2.0**14, 2.0**15), (2.0**60, 2.0**16)):
        x = build(r1, "max_train_steps=100", "mixed_precision=fp16")
        before = weights(x.model.generator.net)
        for player, value in zip(x.state.learners.values(), scales, strict=True):
            assert player.scale
            player.scale.value.fill_(value)
        report = Driver(x).step()
        assert tuple(report[f"{name}/loss_scale"].item() for name in x.state.learners) == scales
        assert report["discriminator/grad_norm"].item() == pytest.approx(plain, rel=0.02)
    assert report["training/skipped_share"] == 1
    assert same(before, weights(x.model.generator.net))
    assert [p.scale.value.item() for p in x.state.learners.values() if p.scale] == [2.0**59, 2.0**16]
    assert (x.state.skipped_in_a_row(), x.state.diverging()) == (1, 0)
    assert "mixed_precision: fp16 on a CPU is for tests; it is many times slower than no" in x.notes


class Unread(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU: reading a number, and shapes that depend on values."""

    WAITS = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in self.WAITS, func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_no_step_waits_for_the_device(build: Build, precision: str) -> None:
    """Held or not, measured for a report or not."""
    settings = (
        "adversarial.adaptive_d={threshold: 1e-4, ema_decay: 0.5}",
        "adversarial.r1={gamma: 0.1, interval: 2}",
        f"mixed_precision={precision}",
    )
    x = build(*settings, "telemetry.report_steps=2", "checkpoints.checkpointing_steps=100", "max_train_steps=100")
    driver = Driver(x)
    steps = [driver.pairs() for _ in range(4)]
    with pytest.raises(AssertionError, match="_local_scalar_dense"), Unread():
        torch.ones(1).item()
    reports = []
    for pairs in steps:
        with Unread():
            measured = x.intervals.due(x.state.step + 1).report
            reports.append(train_step(x.model, pairs, measured))
            x.telemetry.add(reports[-1])
        driver.advance()
    assert {float(report["discriminator/paused"]) for report in reports} <= {0.0, 1.0}
    assert "generator/update_ratio" in reports[1]


def test_both_players_movements_are_told_at_the_step_before_a_report(build: Build) -> None:
    x = build("telemetry.report_steps=2", "checkpoints.checkpointing_steps=100", "max_train_steps=100")
    driver = Driver(x)
    for step in range(4):
        before = torch.cat([w.detach().flatten() for w in x.model.generator.net.parameters()])
        report = driver.step()
        moved = torch.cat([w.detach().flatten() for w in x.model.generator.net.parameters()]) - before
        if step % 2:
            expected = (moved.norm() / before.norm()).item()
            assert report["generator/update_ratio"].item() == pytest.approx(expected, rel=1e-4)
            assert 0 < report["discriminator/update_ratio"] < 1
        else:
            assert not [name for name in report if "update_ratio" in name]


def test_saturated_values_are_counted_before_they_are_clamped(build: Build) -> None:
    picture = torch.tensor([-0.1, 0.0, 1e-6, 0.5, 1 - 1e-6, 1.0, 1.1, 0.2])
    assert saturated(picture) == 0.5
    x = build("batch.per_device=2", "batch.global_size=4")
    with torch.no_grad():
        for weight in x.model.generator.net.parameters():
            weight.zero_()  # what is left is the input, repeated
    pairs = Driver(x).pairs()
    _, report = generator_step(x.model, x.model.phase(0), pairs)
    for name, pictures in (("", [p.lq for p in pairs]), ("_gt", [p.gt for p in pairs])):
        levels = torch.cat([each.flatten() for each in pictures])
        share = ((levels == 0) | (levels == 255)).float().mean().item()
        assert report[f"training/saturated_share{name}"].item() == pytest.approx(share)


STOCHASTIC = "generator={type: StochasticSRResNet, n_channels: 8, n_blocks: 2, noise_dim: 4, large_kernel_size: 3}"


def test_a_stochastic_generator_gets_the_noise_of_each_place(build: Build) -> None:
    x = build("batch.per_device=2", "batch.global_size=4", STOCHASTIC)
    x.state.step = 3
    pairs = Driver(x).pairs()
    twin = deepcopy(x.model.generator.net)  # as before the step
    shown, _ = generator_step(x.model, x.model.phase(3), pairs)
    for places, pair, judged in zip(([12, 13], [14, 15]), pairs, shown, strict=True):
        noise = standard_noise(Keys(x.config.seed, torch.tensor(places)), 4)
        torch.testing.assert_close(judged.fake, twin(pair.lq.float() / 255, noise))
        assert not torch.allclose(judged.fake, twin(pair.lq.float() / 255))


@pytest.mark.parametrize(
    ("generator", "precisions"), [(STOCHASTIC, ("bf16", "fp16")), ("generator.num_conv=2", ("bf16",))]
)
def test_a_lower_precision_is_near_float32_and_all_that_is_kept_is_float32(
    build: Build, generator: str, precisions: tuple[str, ...]
) -> None:
    """Six steps of everything that has a gradient of its own kind: R1, spectra, total variation."""
    settings = (
        generator,
        "adversarial.r1={gamma: 0.1, interval: 2}",
        "losses.tv.weight=1e-3",
        "losses.sam.weight=0.05",
    )
    reports: dict[str, list[dict[str, float]]] = {each: [] for each in ("no", *precisions)}
    for precision, told in reports.items():
        x = build(f"mixed_precision={precision}", *settings)
        driver = Driver(x)
        for _ in range(6):
            told.append({name: value.item() for name, value in driver.step().items()})
        for name, part in x.state.parts().items():
            for key, value in tensors_in(part):
                assert value.dtype == torch.float32, (name, key)
                assert value.isfinite().all(), (name, key)
        scales = [{name: line.pop(name) for name in list(line) if name.endswith("/loss_scale")} for line in told]
        scaled = {f"{name}/loss_scale": 2.0**16 for name in x.state.learners} if precision == "fp16" else {}
        assert scales == [scaled] * 6
        for line, plain in zip(told, reports["no"], strict=True):
            assert line == pytest.approx(plain, rel=0.05, abs=1e-3)


def tensors_in(tree: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from tensors_in(value, f"{path}.{key}")


@pytest.mark.parametrize(
    ("precision", "discriminator"),
    [("bf16", "UNetDiscriminatorSN"), ("bf16", "PatchDiscriminator"), ("bf16", "SRGANDiscriminator"),
     ("fp16", "SRGANDiscriminator")],
)  # fmt: skip
def test_r1_is_float32_under_a_lower_precision(build: Build, precision: str, discriminator: str) -> None:
    """In bf16 the gradient of the SRGAN discriminator's penalty is wrong by 27 % of its length."""
    x = build(f"adversarial.discriminator={{type: {discriminator}, num_feat: 4}}", f"mixed_precision={precision}")
    critic, real = x.state.learners["discriminator"].net, torch.rand(2, 3, 32, 32)
    penalised(R1Penalty(), critic, real).backward()
    ours = [p.grad.clone() if p.grad is not None else None for p in critic.parameters()]
    critic.zero_grad()
    plain = deepcopy(critic)
    plain.forward = MethodType(type(plain).forward, plain)
    real.requires_grad_()
    R1Penalty()(plain(real), real).backward()
    for one, parameter in zip(ours, plain.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-5)


def test_the_discriminator_is_shown_the_truth_that_its_loss_aims_at(build: Build) -> None:
    x = build("gt_usm=false", "degrade_gt_usm=true", "gan_gt_usm=true", "batch.per_device=2", "batch.global_size=4")
    pairs = Driver(x).pairs()
    shown, _ = generator_step(x.model, x.model.phase(0), pairs)
    for judged, pair in zip(shown, pairs, strict=True):
        plain = pair.gt.float() / 255
        torch.testing.assert_close(judged.real, usm_sharpen(plain))
        assert not torch.allclose(judged.real, plain)


def test_r1_is_due_by_the_discriminators_own_steps_and_told_as_it_is(build: Build) -> None:
    """Not from the run's first step, and whatever its interval."""
    start = ("adversarial.pretrain_g_only=true", "adversarial.g_pretrain_steps=1")
    first = {}
    for interval in (1, 2):
        x = build(*start, f"adversarial.r1={{gamma: 0.1, interval: {interval}}}")
        driver, told = Driver(x), {}
        for step in range(6):
            if (value := driver.step().get("discriminator/r1_penalty")) is not None:
                told[step] = value.item()
        assert list(told) == [1, 2, 3, 4, 5][::interval]
        first[interval] = told[1]
    assert first[1] == pytest.approx(first[2], rel=1e-6)
    assert first[1] > 0


def test_a_step_makes_one_power_iteration(build: Build) -> None:
    x = build("batch.per_device=2", "batch.global_size=4")
    critic = x.state.learners["discriminator"].net
    layers = [layer for layer in critic.modules() if isinstance(layer, SpectralConv2d)]
    assert len(layers) == 8
    wanted = []
    for layer in layers:
        matrix = layer.weight_orig.detach().flatten(1)
        right = matrix.T @ layer.weight_u
        left = matrix @ (right / right.norm())
        wanted.append(left / left.norm())
    before = [layer.weight_u.clone() for layer in layers]
    Driver(x).step()
    for layer, old, new in zip(layers, before, wanted, strict=True):
        torch.testing.assert_close(layer.weight_u, new, rtol=1e-4, atol=1e-5)
        assert not torch.equal(layer.weight_u, old)


def test_each_term_aims_at_its_own_truth() -> None:
    """Three different truths; the distance tells which one it was given."""
    result, aims = torch.zeros(1, 3, 4, 4), [torch.full((1, 3, 4, 4), value) for value in (1.0, 2.0, 3.0)]
    judged: list[float] = []

    def critic(pictures: Tensor) -> Tensor:
        judged.append(pictures.mean().item())
        return pictures.mean((1, 2, 3))

    objective = Objective(
        LossesConfig(perceptual=PerceptualLoss()),
        lambda picture, target: {"perceptual": (target - picture).mean()},
        AdversarialLoss(relativistic=True),
    )
    terms = objective.generator(result, Targets(*aims), PhasesConfig().phase(0), critic)
    assert terms["pixel"].value == 1
    assert terms["perceptual"].value == 2
    assert sorted(judged) == [0.0, 3.0]


@pytest.mark.parametrize("gamma", [1e-3, 100.0])
def test_the_discriminators_gradient_is_the_batchs_whatever_the_micro_batches(build: Build, gamma: float) -> None:
    """That of its loss, and that of R1: either may be most of it."""
    norms = []
    for per_device in (2, 4):
        penalty = f"adversarial.r1={{gamma: {gamma}, interval: 1}}"
        x = build(f"batch.per_device={per_device}", "batch.global_size=4", penalty)
        norms.append(Driver(x).step()["discriminator/grad_norm"].item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_what_is_real_and_what_is_fake_is_not_mixed_up() -> None:
    real, fake = torch.full((2, 3, 4, 4), 1.0), torch.full((3, 3, 4, 4), 2.0)
    for net in (nn.Identity(), nn.Sequential(nn.Identity(), nn.BatchNorm2d(3).eval())):
        on_real, on_fake = logits_of(net, real, fake)
        torch.testing.assert_close(on_real, real, rtol=1e-4, atol=0)
        torch.testing.assert_close(on_fake, fake, rtol=1e-4, atol=0)


@pytest.mark.parametrize("alone", [True, False])
def test_pretraining_minimises_what_it_is_told_to(alone: bool) -> None:
    objective = Objective(
        LossesConfig(perceptual=PerceptualLoss()),
        lambda picture, target: {"perceptual": (target - picture).mean()},
        AdversarialLoss(),
        pretrain_on_pixels=alone,
    )
    pictures = torch.zeros(1, 3, 4, 4)
    phase = PhasesConfig(pretrain_g_only=True, g_pretrain_steps=1).phase(0)
    terms = objective.generator(pictures, Targets(pictures, pictures, pictures), phase, lambda shown: shown)
    assert list(terms) == (["pixel"] if alone else ["pixel", "perceptual"])
