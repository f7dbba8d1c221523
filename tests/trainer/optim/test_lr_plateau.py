"""Plateau schedules against torch's own."""

import math

import pytest
import torch

from trainer.optim.lr_plateau import Plateau, PlateauState


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (2, 0), (2, 3), (5, 1)])
def test_the_rate_falls_when_torchs_scheduler_lets_it(mode: str, patience: int, cooldown: int) -> None:
    plateau = Plateau(metric="x", mode=mode, patience=patience, cooldown=cooldown, min_lr=1e-3)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode=mode, factor=0.5, patience=patience, cooldown=cooldown, threshold=1e-3, min_lr=1e-3, eps=0
    )
    state = PlateauState()
    for step in range(60):
        value = 5 + math.sin(step * 1.7) + (math.exp(-step / 5) if mode == "min" else -math.exp(-step / 5))
        theirs.step(value)
        state = plateau.observed(state, value, 0.1)
        assert state.multiple * 0.1 == pytest.approx(optimizer.param_groups[0]["lr"])
    assert state.multiple < 1


def test_an_improvement_must_be_one_whatever_the_sign() -> None:
    plateau = Plateau(metric="x", patience=0, threshold=0.01)
    state = plateau.observed(PlateauState(), -1.0, 1.0)
    assert plateau.observed(state, -1.005, 1.0).multiple == 0.5  # torch takes -0.9999 for better than -1
    assert plateau.observed(state, -1.02, 1.0).multiple == 1


def test_a_figure_that_is_not_finite_is_no_observation() -> None:
    plateau = Plateau(metric="x", patience=0)
    assert plateau.observed(PlateauState(best=1.0), math.nan, 1.0) == PlateauState(best=1.0)


def test_another_objective_makes_a_new_best_and_keeps_the_rate() -> None:
    plateau = Plateau(metric="x", patience=0)
    state = plateau.observed(PlateauState(), 1.0, 1.0, objective=-1.0)
    state = plateau.observed(state, 2.0, 1.0, objective=-1.0)
    assert (state.best, state.multiple) == (1.0, 0.5)
    state = plateau.observed(state, 5.0, 1.0, objective=1.0)
    assert (state.best, state.multiple) == (5.0, 0.5)
    assert plateau.observed(state, 5.0, 1.0, objective=1.0).multiple == 0.25


def test_a_resumed_run_that_watches_another_figure_has_no_best_of_it_yet() -> None:
    state = Plateau(metric="training/loss_pixel", patience=0).observed(PlateauState(), 0.03, 1.0)
    state = Plateau(metric="training/loss", patience=0).observed(state, 3.0, 1.0)
    assert (state.best, state.multiple) == (3.0, 1.0)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"factor must be in \(0, 1\), got 1.5"):
        Plateau(metric="x", factor=1.5)
    with pytest.raises(ValueError, match="must not be negative"):
        Plateau(metric="x", patience=-1)
