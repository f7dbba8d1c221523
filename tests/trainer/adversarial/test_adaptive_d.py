"""`adaptive_d`: the steps at which the discriminator is held, in closed form; its state and refused settings."""

import math

import pytest
import torch
from accelerate import Accelerator

from trainer.adversarial.adaptive_d import AdaptiveD, AdaptiveDConfig
from trainer.adversarial.config import AdversarialConfig
from trainer.losses.adversarial import AdversarialLoss


def held(adaptive_d: AdaptiveD, leads: list[float]) -> list[float]:
    return [adaptive_d.pause(torch.tensor(0.5 + margin / 2), torch.tensor(0.5 - margin / 2)).item() for margin in leads]


def test_it_is_held_while_the_smoothed_lead_is_above_the_threshold(accelerator: Accelerator) -> None:
    decay, threshold = 0.7, 0.6
    leads = [0.9] * 8 + [0.1] * 4 + [0.95] * 6
    smoothed, expected = 0.0, []
    for margin in leads:
        smoothed = decay * smoothed + (1 - decay) * margin
        expected.append(float(smoothed > threshold))
    assert expected[0] == 0  # a draw at first
    assert expected[7] == 1
    assert expected[11] == 0
    assert expected[-1] == 1
    adaptive_d = AdaptiveD(accelerator, AdaptiveDConfig(threshold=threshold, ema_decay=decay))
    assert held(adaptive_d, leads) == expected
    assert adaptive_d.margin.item() == pytest.approx(smoothed, rel=1e-6)


def test_without_smoothing_the_present_step_decides(accelerator: Accelerator) -> None:
    adaptive_d = AdaptiveD(accelerator, AdaptiveDConfig(threshold=0.5, ema_decay=0.0))
    assert held(adaptive_d, [0.6, 0.4, -0.9, 0.51]) == [1, 0, 0, 1]


def test_figures_that_are_not_finite_are_forgotten(accelerator: Accelerator) -> None:
    adaptive_d = AdaptiveD(accelerator, AdaptiveDConfig(threshold=0.5, ema_decay=0.0))
    assert held(adaptive_d, [0.6, math.nan, 0.4]) == [1, 1, 0]


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.0}, {"ema_decay": 1.0}, {"ema_decay": -0.1}])
def test_settings_that_hold_always_or_never_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be in"):
        AdaptiveDConfig(**wrong)


@pytest.mark.parametrize(
    ("loss", "named"),
    [(AdversarialLoss(type="wgan"), "type: wgan"), (AdversarialLoss(relativistic=True), "relativistic: true")],
)
def test_a_discriminator_without_probabilities_cannot_be_held_by_them(loss: AdversarialLoss, named: str) -> None:
    wanted = f"adaptive_d: with loss.{named} the discriminator gives no probabilities to compare"
    with pytest.raises(ValueError, match=wanted):
        AdversarialConfig(loss=loss, adaptive_d=AdaptiveDConfig())
    AdversarialConfig(loss=loss)
