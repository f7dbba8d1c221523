"""Batch arithmetic: sizes that divide, and the advice for those that do not."""

import pytest

from trainer.distributed.batch import BatchConfig, most_processes, notes_on_batch, plan_batch
from trainer.mistakes import Mistake


@pytest.mark.parametrize(
    ("global_size", "per_device", "processes", "accumulation"),
    [(48, 12, 4, 1), (48, 12, 1, 4), (48, 12, 2, 2), (1, 1, 1, 1), (96, 3, 8, 4)],
)
def test_accumulation_follows(global_size: int, per_device: int, processes: int, accumulation: int) -> None:
    plan = plan_batch(BatchConfig(global_size=global_size, per_device=per_device), processes)
    assert plan.accumulation == accumulation
    assert plan.per_process * processes == global_size


def test_every_place_of_a_step_is_one_micro_batchs() -> None:
    plan = plan_batch(BatchConfig(global_size=12, per_device=2), 3)
    places = [plan.positions(5, rank, number) for rank in range(3) for number in range(plan.accumulation)]
    assert [place for part in places for place in part] == list(range(60, 72))


def test_the_plan_reads_as_a_product() -> None:
    assert str(plan_batch(BatchConfig(), 2)) == "48 = 2 processes x 12 per device x 2 accumulation"
    assert str(plan_batch(BatchConfig(), 1)) == "48 = 1 process x 12 per device x 4 accumulation"


@pytest.mark.parametrize(
    ("global_size", "per_device", "processes", "taken"),
    [(48, 20, 2, 12), (48, 12, 3, 8), (34, 12, 2, 1), (4, 8, 1, 4), (48, 12, 4, 12)],
)
def test_fewer_at_a_time_are_taken_where_per_device_does_not_divide_a_share(
    global_size: int, per_device: int, processes: int, taken: int
) -> None:
    config = BatchConfig(global_size=global_size, per_device=per_device)
    plan = plan_batch(config, processes)
    assert plan.per_device == taken
    assert plan.per_process * processes == global_size
    expected = [] if taken == per_device else [
        f"batch.per_device: got {per_device}; {taken} are used, as each process has {global_size // processes} pairs "
        "of a step (the sum of their gradients is the same)"
    ]  # fmt: skip
    assert notes_on_batch(config, processes) == expected


@pytest.mark.parametrize(
    ("global_size", "processes", "fits", "sentence"),
    [
        (48, 5, 4, "batch: global_size 48 does not divide by 5 processes; 45 or 50 would do, or 4 processes."),
        (2, 3, 2, "batch: global_size 2 does not divide by 3 processes; 3 would do, or 2 processes."),
        (7, 4, 1, "batch: global_size 7 does not divide by 4 processes; 4 or 8 would do, or 1 process."),
    ],
)
def test_unequal_shares_are_refused_with_what_would_do(
    global_size: int, processes: int, fits: int, sentence: str
) -> None:
    config = BatchConfig(global_size=global_size, per_device=1)
    with pytest.raises(Mistake) as caught:
        plan_batch(config, processes)
    assert str(caught.value) == sentence
    assert most_processes(config, processes) == fits
