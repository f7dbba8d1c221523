"""The stream is a function of the position, for any number of ranks."""

from collections import Counter
from itertools import islice

import pytest

from trainer.images.positions import DataPurpose, Positions, image_at, shuffled


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 10, 16, 17, 100, 255, 256, 257, 1000, 4097])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (1, 0), (0, 1), (2**63, 10**6)])
def test_shuffled_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    assert sorted(shuffled(index, n, seed, epoch) for index in range(n)) == list(range(n))


def test_shuffled_handles_sets_too_large_to_permute_in_memory() -> None:
    n = 10**12
    places = {shuffled(index, n, seed=3, epoch=0) for index in range(1000)}
    assert len(places) == 1000
    assert max(places) < n
    assert sum(place > n // 2 for place in places) == pytest.approx(500, abs=80)


def test_every_order_of_three_occurs_about_equally_often() -> None:
    orders = Counter(tuple(shuffled(i, 3, 0, epoch) for i in range(3)) for epoch in range(3000))
    assert len(orders) == 6
    assert all(400 < count < 600 for count in orders.values()), orders


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_places_are_uniform_and_neighbours_independent(n: int) -> None:
    """Chi-squared of the place of one index, and of the distance between two, over many epochs: 10 cells each."""
    epochs = 4000
    firsts = [shuffled(0, n, 5, epoch) for epoch in range(epochs)]
    seconds = [shuffled(1, n, 5, epoch) for epoch in range(epochs)]
    place = Counter(first * 10 // n for first in firsts)
    distance = Counter(((b - a) % n - 1) * 9 // (n - 1) for a, b in zip(firsts, seconds, strict=True))
    for cells, counts in ((10, place), (9, distance)):
        expected = epochs / cells
        assert sum((counts[c] - expected) ** 2 / expected for c in range(cells)) < 30  # 99.95 % quantile, 9 degrees


def test_an_index_outside_is_refused() -> None:
    with pytest.raises(IndexError, match=r"index 3 is not in range\(3\)"):
        shuffled(3, 3, 0, 0)


def test_every_epoch_shows_every_image_once_in_another_order() -> None:
    epochs = [[image_at(epoch * 50 + i, 50, seed=7) for i in range(50)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [image_at(i, 50, seed=8) for i in range(50)]


def test_the_stream_never_changes() -> None:
    """Checkpoints resume into it: these figures may not change between versions."""
    assert [image_at(position, 10, seed=0) for position in range(12)] == FROZEN


FROZEN = [0, 5, 1, 3, 2, 9, 7, 4, 8, 6, 5, 0]


def step_of(world: int, per_device: int, step: int, global_size: int = 24) -> list[int]:
    """The positions of one step: all ranks, one after the other, all micro-batches."""
    micro = global_size // (world * per_device)
    seen = []
    for rank in range(world):
        positions = Positions(
            global_size=global_size, per_device=per_device, rank=rank, world=world, start=step * global_size
        )
        batches = list(islice(positions, micro))
        assert all(len(batch) == per_device for batch in batches)
        seen += [position for batch in batches for position in batch]
    return seen


@pytest.mark.parametrize(
    ("world", "per_device"), [(w, p) for w in (1, 2, 3, 4) for p in (1, 2, 3, 6) if not 24 % (w * p)]
)
@pytest.mark.parametrize("step", [0, 5])
def test_a_step_is_the_same_for_every_world_and_accumulation(world: int, per_device: int, step: int) -> None:
    assert step_of(world, per_device, step) == list(range(24 * step, 24 * step + 24))


def test_starting_late_is_going_on() -> None:
    def stream(start: int) -> Positions:
        return Positions(global_size=12, per_device=2, rank=1, world=2, start=start)

    assert list(islice(stream(0), 9, 30)) == list(islice(stream(36), 21))


def test_a_step_may_start_anywhere() -> None:
    """A pool is filled before the first step, by a number of positions that need not be a multiple of the batch."""
    halves = [Positions(global_size=4, per_device=2, rank=rank, world=2, start=7) for rank in (0, 1)]
    assert [list(islice(half, 2)) for half in halves] == [[[7, 8], [11, 12]], [[9, 10], [13, 14]]]


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="global_size 10 is not a multiple of 2 ranks x 4 per device"):
        Positions(global_size=10, per_device=4, rank=0, world=2)


def test_purposes_are_apart_and_above_the_degradations() -> None:
    assert len(set(DataPurpose)) == len(DataPurpose)
    assert min(DataPurpose) >= 64
