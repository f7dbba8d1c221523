"""Phases of adversarial training, in closed form over whole runs."""

import math

import pytest

from trainer.adversarial.config import AdversarialConfig
from trainer.adversarial.phases import PhasesConfig
from trainer.optim.lr_schedules import Constant


def test_without_settings_both_learn_from_the_first_step_at_full_weight() -> None:
    for step in range(5):
        phase = PhasesConfig().phase(step)
        assert (phase.pretrain, phase.train_generator, phase.train_discriminator) == (False, True, True)
        assert phase.adversarial == 1


def test_pretraining_lasts_exactly_its_steps() -> None:
    game = PhasesConfig(pretrain_g_only=True, g_pretrain_steps=7)
    assert [game.phase(step).pretrain for step in range(10)] == [True] * 7 + [False] * 3
    assert [game.phase(step).train_discriminator for step in range(10)] == [False] * 7 + [True] * 3
    assert all(game.phase(step).train_generator for step in range(10))


def test_pretraining_can_last_for_ever() -> None:
    game = PhasesConfig(pretrain_g_only=True, g_pretrain_steps=-1)
    assert all(game.phase(step).pretrain for step in (0, 10, 10**9))


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_ramp_rises_from_nothing_to_all(start: int, schedule: str) -> None:
    game = PhasesConfig(
        pretrain_g_only=start > 0,
        g_pretrain_steps=start,
        adv_loss_ramp_steps=8,
        adv_loss_schedule=schedule,  # type: ignore[arg-type]
    )
    for step in range(20):
        share = min(1, max(0, step - start) / 8)
        expected = share if schedule == "linear" else (1 - math.cos(math.pi * share)) / 2
        assert game.phase(step).adversarial == pytest.approx(expected)


def test_the_generator_learns_when_upstreams_would() -> None:
    game = PhasesConfig(net_d_iters=3, net_d_init_iters=4)
    for iteration in range(1, 20):  # upstream's numbers begin at 1
        phase = game.phase(iteration - 1)
        assert phase.train_generator == (iteration % 3 == 0 and iteration > 4)
        assert phase.train_discriminator


def test_the_generator_is_being_trained_between_its_steps_but_not_before_them() -> None:
    game = PhasesConfig(pretrain_g_only=True, g_pretrain_steps=5, net_d_iters=3, net_d_init_iters=4)
    # Steps 1 to 5 pretrain; numbers 1 to 5 of the game are the discriminator's alone, and 6, 9, ... are its own.
    assert [game.generator_learns(step) for step in range(1, 16)] == [True] * 5 + [False] * 5 + [True] * 5
    assert all(PhasesConfig(pretrain_g_only=True, g_pretrain_steps=-1).generator_learns(step) for step in (1, 10**6))
    assert all(PhasesConfig(net_d_iters=3).generator_learns(step) for step in range(3, 20))
    assert not any(PhasesConfig(net_d_iters=3).generator_learns(step) for step in (1, 2))


def test_the_objective_changes_with_the_phase_and_with_each_weight_of_the_ramp() -> None:
    game = PhasesConfig(pretrain_g_only=True, g_pretrain_steps=3, adv_loss_ramp_steps=2, adv_loss_schedule="linear")
    assert [game.phase(step).objective for step in range(7)] == [-1, -1, -1, 0, 0.5, 1, 1]
    assert PhasesConfig().phase(0).objective == PhasesConfig().phase(9).objective


def test_half_a_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="pretrain_g_only is false but g_pretrain_steps is 5"):
        PhasesConfig(g_pretrain_steps=5)
    with pytest.raises(ValueError, match="pretrain_g_only is true but g_pretrain_steps is 0"):
        PhasesConfig(pretrain_g_only=True)


def test_a_warm_up_that_is_over_before_the_discriminator_joins_is_refused() -> None:
    phases = {"pretrain_g_only": True, "g_pretrain_steps": 5}
    with pytest.raises(
        ValueError, match=r"lr_scheduler\.lr_warmup_steps: got 5, .* must be above g_pretrain_steps 5, or 0"
    ):
        AdversarialConfig(lr_scheduler=Constant(lr_warmup_steps=5), **phases)
    AdversarialConfig(lr_scheduler=Constant(lr_warmup_steps=6), **phases)


def test_the_generator_waits_for_all_of_the_first_iterations() -> None:
    game = PhasesConfig(net_d_iters=1, net_d_init_iters=4)
    assert [game.phase(number - 1).train_generator for number in range(1, 7)] == [False] * 4 + [True] * 2
