"""The one object that a checkpoint holds: what it saves comes back exactly, and settings stay the configuration's."""

from typing import Any

import pytest
import torch
from accelerate import Accelerator

from trainer.networks import SRVGGNetCompactConfig
from trainer.optim.ema import EMAConfig, smoothed
from trainer.optim.learner import Learner, OptimizerConfig
from trainer.optim.lr_schedules import Constant
from trainer.pairs.stream import Stream
from trainer.state import Best, TrainState


def state(accelerator: Accelerator, seed: int = 0, **optimizer: Any) -> TrainState:
    torch.manual_seed(seed)
    net = SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=1).build(2, bands=3)
    config = OptimizerConfig(**optimizer)
    player = Learner(accelerator, net, config, Constant())
    return TrainState(player, None, smoothed(player.net, EMAConfig(decay=0.9)), Stream(pictures=5, names="abc"))


def train(s: TrainState, steps: int) -> None:
    for _ in range(steps):
        picture = torch.linspace(0, 1, 75).reshape(1, 3, 5, 5) + 0.01 * s.step
        s.generator.accelerator.backward(s.generator.ddp(picture).square().mean())
        s.generator.step()
        s.ema.update()
        s.stream.position += 4
        s.step += 1


def equal(one: Any, other: Any) -> bool:
    """Whether two nested state dicts agree to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def test_two_halves_are_the_whole_bitwise(accelerator: Accelerator) -> None:
    whole, first, second = state(accelerator), state(accelerator), state(accelerator, seed=1)
    train(whole, 6)
    train(first, 3)
    first.best = Best("psnr", 30.5, 2, "y")
    first.unreadable = {4}
    second.load(first.parts())
    assert (second.step, second.stream.position) == (3, 12)
    assert second.best == Best("psnr", 30.5, 2, "y")
    assert second.unreadable == {4}
    train(second, 3)
    for part in ("generator", "generator_ema", "generator_optimizer"):
        assert equal(second.parts()[part], whole.parts()[part]), part
    assert second.parts()["progress"]["ema_updates"] == 6


def test_a_resumed_run_takes_the_optimizer_settings_of_its_configuration(accelerator: Accelerator) -> None:
    """torch's load_state_dict would bring the old ones back, and a change of them would do nothing."""
    before = state(accelerator, type="adam", weight_decay=0.1)
    train(before, 2)
    changed = {"type": "adamw", "learning_rate": 1e-5, "betas": (0.5, 0.9), "eps": 1e-6, "weight_decay": 0.3}
    after = state(accelerator, **changed)
    after.load(before.parts())
    kernels, rest = after.generator.optimizer.param_groups
    assert (kernels["betas"], kernels["eps"], kernels["lr"]) == ((0.5, 0.9), 1e-6, 1e-5)
    assert (kernels["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    assert kernels["decoupled_weight_decay"]
    moments = before.parts()["generator_optimizer"]["state"]
    assert moments
    assert equal(after.parts()["generator_optimizer"]["state"], moments)
    train(after, 1)


def test_a_checkpoint_of_another_network_does_not_fit(accelerator: Accelerator) -> None:
    other = state(accelerator).parts()
    other["generator"] = SRVGGNetCompactConfig(init="torch", num_feat=8, num_conv=1).build(2, bands=3).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        state(accelerator).load(other)


def test_a_checkpoint_of_another_format_says_so(accelerator: Accelerator) -> None:
    other = state(accelerator).parts()
    other["progress"]["version"] = 999
    with pytest.raises(ValueError, match="its format is version 999, this program reads "):
        state(accelerator).load(other)


@pytest.mark.usefixtures("fresh_accelerate")
def test_the_average_under_bf16_runs_on_its_own_weights() -> None:
    """Accelerate replaces the live network's `forward`; a careless copy of it would still call the live weights."""
    s = state(Accelerator(cpu=True, mixed_precision="bf16"))
    picture = torch.rand(1, 3, 4, 4)
    train(s, 1)
    before = s.ema.ema_model(picture)
    with torch.no_grad():
        for parameter in s.generator.net.parameters():
            parameter.zero_()
    assert torch.equal(s.ema.ema_model(picture), before)
    assert not torch.equal(s.generator.net(picture), before)
