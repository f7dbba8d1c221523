"""Rates and what is due: functions of the step, compared with their closed forms over whole runs."""

import math

import pytest
import torch

from trainer.optim.lr_plateau import LRSchedule
from trainer.optim.lr_schedules import Constant, Cosine, Linear, MultiStep
from trainer.telemetry.intervals import Due, Intervals

TOTAL = 40


def rates(schedule: LRSchedule) -> list[float]:
    return [schedule.multiple(step, TOTAL) for step in range(TOTAL)]


def test_constant_stays() -> None:
    assert rates(Constant()) == [1.0] * TOTAL


def test_multistep_falls_where_torchs_does() -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 12, 30], gamma=0.3)
    wanted = []
    for _ in range(TOTAL):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates(MultiStep(milestones=(5, 12, 30), gamma=0.3)) == pytest.approx(wanted)


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_cosine_falls_by_half_a_wave(least: float) -> None:
    wanted = [least + (1 - least) * (1 + math.cos(math.pi * step / TOTAL)) / 2 for step in range(TOTAL)]
    assert rates(Cosine(min_factor=least)) == pytest.approx(wanted)
    assert Cosine(min_factor=least).multiple(TOTAL, TOTAL) == pytest.approx(least)


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_linear_falls_by_a_line(least: float) -> None:
    assert rates(Linear(min_factor=least)) == pytest.approx([1 - (1 - least) * step / TOTAL for step in range(TOTAL)])


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize(
    "schedule", [Constant, Cosine, Linear, lambda **keys: MultiStep(milestones=(20,), **keys)], ids=range(4)
)
def test_the_warm_up_rises_to_the_full_rate(schedule: type[Constant], kind: str) -> None:
    found = rates(schedule(lr_warmup_steps=8, lr_warmup_type=kind))  # type: ignore[arg-type]
    shares = [step / 8 for step in range(8)]
    wanted = shares if kind == "linear" else [(1 - math.cos(math.pi * share)) / 2 for share in shares]
    assert found[:8] == pytest.approx(wanted)
    assert found[8] == 1.0
    assert max(found) == 1.0


def test_the_fall_begins_after_the_warm_up() -> None:
    assert rates(Linear(lr_warmup_steps=8))[8:] == pytest.approx([1 - step / 32 for step in range(32)])
    wanted = [(1 + math.cos(math.pi * step / 32)) / 2 for step in range(32)]
    assert rates(Cosine(lr_warmup_steps=8))[8:] == pytest.approx(wanted)


def test_beyond_the_end_the_rate_stays_at_its_least() -> None:
    assert Cosine(min_factor=0.1).multiple(10 * TOTAL, TOTAL) == pytest.approx(0.1)
    assert Linear().multiple(10 * TOTAL, TOTAL) == 0.0


@pytest.mark.parametrize("milestones", [(), (0, 5), (5, 5), (7, 5)])
def test_milestones_that_do_not_rise_are_refused(milestones: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="milestones must be rising positive steps"):
        MultiStep(milestones=milestones)


def test_a_warm_up_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="lr_warmup_steps must be at least 0, got -1"):
        Cosine(lr_warmup_steps=-1)


def test_what_is_due_comes_at_its_period_and_at_the_end() -> None:
    intervals = Intervals(report=5, validate=4, checkpoint=3, last=11)
    due = {step: intervals.due(step) for step in range(1, 12)}
    assert [step for step in due if due[step].validate] == [4, 8, 11]
    assert [step for step in due if due[step].checkpoint] == [3, 6, 9, 11]
    assert [step for step in due if due[step].report] == [3, 4, 5, 6, 8, 9, 10, 11]  # what is saved is reported
    assert due[1] == Due(report=False, validate=False, checkpoint=False)
    assert due[11] == Due(report=True, validate=True, checkpoint=True)


def test_without_validation_none_is_due() -> None:
    assert not any(Intervals(report=1, validate=None, checkpoint=1, last=5).due(step).validate for step in range(1, 6))
