"""The smoothed generator against its closed form."""

import pytest
import torch
from torch import nn

from trainer.optim.ema import EMAConfig, smoothed


def trained(config: EMAConfig, values: list[float]) -> list[float]:
    """The average of a single weight, after each of the updates that follow its values."""
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(100.0)  # what it starts from must not matter
    ema = smoothed(net, config)
    averages = []
    for value in values:
        with torch.no_grad():
            net.weight.fill_(value)
        ema.update()
        averages.append(ema.ema_model.weight.item())
    return averages


def closed_form(values: list[float], decays: list[float]) -> list[float]:
    average, averages = 0.0, []
    for value, decay in zip(values, decays, strict=True):
        average = decay * average + (1 - decay) * value
        averages.append(average)
    return averages


VALUES = [1.0, 3.0, -2.0, 5.0, 0.5, 4.0, -1.0, 2.0]


def test_a_constant_decay_begins_with_a_copy() -> None:
    decays = [0.0] + 7 * [0.9]
    assert trained(EMAConfig(decay=0.9, warmup_power=0), VALUES) == pytest.approx(closed_form(VALUES, decays), rel=1e-5)


@pytest.mark.parametrize("power", [2 / 3, 0.75, 1.0])
def test_a_warm_up_forgets_the_first_steps(power: float) -> None:
    decays = [min(0.7, 1 - n**-power) for n in range(1, 9)]
    assert decays[1] < 0.7 == decays[-1]
    averages = trained(EMAConfig(decay=0.7, warmup_power=power), VALUES)
    assert averages == pytest.approx(closed_form(VALUES, decays), rel=1e-5)


def test_by_default_the_average_is_warmed_up_and_a_decay_of_0_is_the_live_weights() -> None:
    """After 300 steps a constant decay of 0.999 still holds three quarters of the initial weights."""
    values = [100.0] + 299 * [1.0]
    assert trained(EMAConfig(), values)[-1] == pytest.approx(1.0, abs=1.0)
    assert trained(EMAConfig(warmup_power=0), values)[-1] > 70
    live = [0.1, 1 / 3, -7.7e-5, 1e8]
    assert trained(EMAConfig(decay=0), live) == torch.tensor(live).tolist()


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_until_a_step_the_average_is_a_copy(power: float) -> None:
    config = EMAConfig(decay=0.7, warmup_power=power, update_after_step=3)
    late = [min(0.7, 1 - n**-power) if power else 0.7 for n in range(2, 6)]
    assert trained(config, VALUES) == pytest.approx(closed_form(VALUES, [0.0, 0.0, 0.0, 0.0, *late]), rel=1e-5)


def test_the_average_is_apart_from_the_live_weights_and_takes_no_gradient() -> None:
    net = nn.Linear(2, 2)
    ema = smoothed(net, EMAConfig())
    ema.update()
    assert not ema.ema_model.training
    assert not any(p.requires_grad for p in ema.ema_model.parameters())
    assert ema.ema_model.weight.data_ptr() != net.weight.data_ptr()
    assert net.weight.requires_grad
    assert ema.step.device.type == "cpu"


@pytest.mark.parametrize("wrong", [{"decay": 1.0}, {"decay": -0.1}, {"warmup_power": -1.0}, {"update_after_step": -1}])
def test_what_makes_no_average_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        EMAConfig(**wrong)  # type: ignore[arg-type]


def test_the_decay_is_real_esrgans_unless_told_otherwise() -> None:
    assert EMAConfig().decay == 0.999


@pytest.mark.parametrize("config", [EMAConfig(decay=0.9, warmup_power=0.0), EMAConfig(decay=0.9, update_after_step=7)])
def test_once_settled_the_initial_weights_are_forgotten(config: EMAConfig) -> None:
    net = nn.Linear(1, 1)
    nn.init.zeros_(net.weight)
    ema = smoothed(net, config)
    ema.update()
    nn.init.ones_(net.weight)
    for _ in range(config.settled() + 1):
        ema.update()
    assert ema.ema_model.weight.item() > 0.95
