"""Batch arithmetic: sizes that divide, and the advice for those that do not."""

import pytest

from trainer.distributed.batch import BatchConfig, plan_batch
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
    ("global_size", "per_device", "processes", "sentence"),
    [
        (
            48,
            20,
            2,
            "batch: global_size 48 does not divide by 2 processes x per_device 20; each process has 24 of them, so "
            "per_device may be 1, 2, 3, 4, 6, 8, 12, 24.",
        ),
        (
            48,
            12,
            5,
            "batch: global_size 48 does not divide by 5 processes x per_device 12; global_size must be a multiple of "
            "the 5 processes: 45 or 50 would do.",
        ),
        (
            2,
            1,
            3,
            "batch: global_size 2 does not divide by 3 processes x per_device 1; global_size must be a multiple of "
            "the 3 processes: 3 would do.",
        ),
        (
            4,
            8,
            1,
            "batch: global_size 4 does not divide by 1 process x per_device 8; each process has 4 of them, so "
            "per_device may be 1, 2, 4.",
        ),
    ],
)
def test_what_does_not_divide_lists_what_would(
    global_size: int, per_device: int, processes: int, sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        plan_batch(BatchConfig(global_size=global_size, per_device=per_device), processes)
    assert str(caught.value) == sentence
