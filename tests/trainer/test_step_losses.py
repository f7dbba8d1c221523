"""The losses beside L1 in whole steps: what they need is computed then only, and the batch may be divided anyhow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from tests.driving import Driver
from tests.trainer.losses.test_losses_perceptual import tiny_vgg
from tests.trainer.test_steps import Foreign, Unread
from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.experiment import Experiment
from trainer.lifecycle.assemble import assemble, check
from trainer.mistakes import Mistake
from trainer.steps import train_step

GAME = "adversarial.discriminator={type: UNetDiscriminatorSN, num_feat: 4}"
LOSSES = (
    "losses.ms_ssim={scales: 2, weight: 0.5}",
    "losses.focal_frequency={}",
    "losses.gradient={type: sobel}",
    "losses.colour={weight: 0.3}",
    "losses.luma={}",
    "losses.ldl={}",
    "losses.feature_matching={weight: 0.1}",
    f"losses.modules=[{{name: mine, path: {__name__}.Cubed, weight: 0.2}}]",
)
TERMS = {"ms_ssim", "focal_frequency", "gradient", "colour", "luma", "ldl", "feature_matching", "mine"}
Build = Callable[..., Experiment]


class Cubed(nn.Module):
    """A loss of somebody else's, with a weight that it draws."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = nn.Parameter(torch.rand(()))

    def forward(self, result: Tensor, target: Tensor) -> Tensor:
        return self.drawn * (result - target).abs().pow(3).mean()


@pytest.fixture
def build(tiny: Callable[..., RunConfig], fresh_accelerate: Any) -> Build:  # noqa: ARG001
    """An experiment from the tiny configuration with a discriminator and all losses."""

    def make(*overrides: str) -> Experiment:
        config = tiny("validation=null", "telemetry.report_to=none", "queue_size=0", GAME, *LOSSES, *overrides)
        AcceleratorState._reset_state()
        x = assemble(config, make_accelerator(config))
        for player in x.state.learners.values():
            player.set_rate(10, 20)  # past the warm-up
        return x

    return make


def test_all_terms_are_in_a_step_that_does_not_wait(build: Build, tmp_path: Path) -> None:
    torch.save(tiny_vgg("conv4_2"), tmp_path / "vgg.pth")
    x = build(f"losses.contextual.weights={tmp_path / 'vgg.pth'}", "batch.per_device=2")
    driver = Driver(x)
    driver.step()
    pairs = driver.pairs()
    with Unread():
        report = train_step(x.model, pairs)
    assert report["training/loss_adversarial"] > 0
    assert all(report[f"training/loss_{term}"] > 0 for term in (*TERMS - {"ldl"}, "contextual"))
    assert report["training/loss_ldl"] >= 0


def test_the_gradient_is_the_batchs_whatever_the_micro_batches(build: Build) -> None:
    found = []
    for per_device in (1, 4):
        driver = Driver(build(f"batch.per_device={per_device}", "losses.pixel.weight=0", "adversarial.loss.weight=0"))
        driver.step()  # so that the average is another network than the generator
        found.append({name: value.item() for name, value in driver.step().items() if "update" not in name})
    assert found[0] == pytest.approx(found[1], rel=2e-3)
    assert found[0]["training/grad_norm"] > 0


def test_lower_precision_is_near_float32(build: Build) -> None:
    found = []
    for precision in ("no", "bf16"):
        driver = Driver(build(f"mixed_precision={precision}"))
        found.append({name: value.item() for name, value in driver.step().items() if "loss" in name})
    assert found[1] == pytest.approx(found[0], rel=0.05, abs=2e-3)


@pytest.mark.parametrize(
    ("overrides", "asked"),
    [
        ((), 1),
        (("losses.ldl.weight=0",), 0),
        (("losses.ldl=null",), 0),
        (("adversarial.pretrain_g_only=true", "adversarial.g_pretrain_steps=2"), 0),
        (
            (
                "adversarial.pretrain_g_only=true",
                "adversarial.g_pretrain_steps=2",
                "adversarial.pretrain_objective=content",
            ),
            1,
        ),
        (("adversarial.net_d_iters=2",), 0),
    ],
    ids=["ldl", "without weight", "without ldl", "pretraining by l1", "pretraining by content", "not the generator's"],
)
def test_the_average_is_asked_in_steps_with_ldl_alone(build: Build, overrides: tuple[str, ...], asked: int) -> None:
    x = build("batch.per_device=4", *overrides)
    shown: list[Tensor] = []
    x.state.ema.ema_model.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    Driver(x).step()
    assert len(shown) == asked
    assert all(parameter.grad is None for parameter in x.state.ema.ema_model.parameters())


def test_ldl_compares_with_the_averages_result_for_the_same_noise(build: Build) -> None:
    """A stochastic generator whose average is itself at first: its result is no nearer, so nothing is left out."""
    stochastic = "{type: StochasticSRResNet, n_channels: 4, n_blocks: 1, noise_dim: 4, large_kernel_size: 3}"
    x = build(f"generator={stochastic}", "batch.per_device=4")
    results: list[Tensor] = []
    for net in (x.model.generator.net, x.state.ema.ema_model):
        net.register_forward_hook(lambda _, __, output: results.append(output.detach().clone()))
    Driver(x).step()
    torch.testing.assert_close(results[0], results[1])


def test_an_imported_discriminator_is_compared_in_its_own_layers(build: Build) -> None:
    foreign = f"adversarial.discriminator={{type: module, path: {Foreign.__module__}.Foreign}}"
    for layers in ("[]", "[norm, features]"):
        x = build(foreign, f"losses.feature_matching.layers={layers}", "batch.per_device=4")
        assert x.model.features is not None
        assert x.model.features.layers == (("norm", "features") if len(layers) > 2 else ("features",))
        assert Driver(x).step()["training/loss_feature_matching"] > 0


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "losses.feature_matching.layers=[conv77]",
            "losses.feature_matching.layers: UNetDiscriminatorSN has no conv77",
        ),
        ("losses.modules.0.path=torch.nn.PReLU", r"losses.modules.0: torch.nn.PReLU fails on two pictures, "),
        ("losses.modules.0.path=no_such_package.Loss", "losses.modules.0: path: no_such_package cannot be imported"),
        ("losses.contextual.weights=none.pth", "losses.contextual.weights: none.pth does not exist"),
    ],
)
def test_what_does_not_work_ends_the_start_in_a_sentence(
    build: Build, tiny: Callable[..., RunConfig], override: str, sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        build(override)
    assert str(caught.value).startswith(sentence)
    with pytest.raises(Mistake) as caught:
        check(tiny(GAME, *LOSSES, override), 1)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("adversarial=null", "losses.feature_matching: must be null without an adversarial section"),
        ("ema.decay=0", "losses.ldl: needs an average to compare with; ema.decay is 0"),
        (
            "losses.ms_ssim.scales=5",
            "losses.ms_ssim.scales: got 5, for patches of 176 pixels; 2 would do for gt_size 32",
        ),
        ("losses.modules.0.name=pixel", "losses: modules: got the name pixel, which another loss has"),
        ("percep_gt_usm=true", "percep_gt_usm: got true; there is no losses.perceptual or losses.contextual for it"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tiny: Callable[..., RunConfig], override: str, sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        tiny("gt_usm=false", GAME, *LOSSES, override)
    assert sentence in str(caught.value)
