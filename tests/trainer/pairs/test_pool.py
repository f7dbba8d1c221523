"""The global pool: one array whatever the number of ranks, exact exchanges, geometric ages."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from degradations.keyed_random import Keys, uniforms
from trainer.images.positions import DataPurpose
from trainer.pairs.pool import Layout, PairShape, Pool, Route, plan_route
from trainer.pairs.synthesis import PairBatch

SHAPE = PairShape((1, 1, 1), (1, 2, 2))
CPU = torch.device("cpu")


def rows_of(positions: Tensor) -> Tensor:
    """Pool rows whose values encode their stream positions."""
    count = len(positions)
    lq, gt = torch.zeros(count, *SHAPE.lq, dtype=torch.uint8), torch.zeros(count, *SHAPE.gt, dtype=torch.uint8)
    return SHAPE.rows(PairBatch(lq, gt, positions))


def position_of(rows: Tensor) -> Tensor:
    return SHAPE.pairs(rows).positions


def exchange(pools: Sequence[Pool], fresh: Sequence[Tensor], step: int, micro: int) -> list[Tensor]:
    """`Pool.swap` of all ranks at once, with the collective done by hand from the planned routes."""
    layout = pools[0].layout
    routes: list[Route] = [plan_route(pool.drawn(step), pool.layout, micro) for pool in pools]
    messages = []
    for pool, rows, route in zip(pools, fresh, routes, strict=True):
        message = torch.cat([rows, pool.rows[route.taken]])[route.sent]
        messages.append(message.split(route.send_counts))
    trained = []
    for rank, (pool, rows, route) in enumerate(zip(pools, fresh, routes, strict=True)):
        parts = [messages[other][rank] for other in range(layout.world)]
        assert [len(part) for part in parts] == route.receive_counts
        received = torch.cat(parts)
        pool.rows[route.taken] = received[route.stored]
        result = rows.clone()
        result[route.replaced] = received[route.trained]
        trained.append(result)
    return trained


def trained_positions(size: int, batch: int, world: int, per_device: int, steps: int) -> tuple[Tensor, Tensor]:
    """Stream positions of the rows in each batch [steps, batch], and of those in the pool afterwards."""
    per_process = batch // world
    pools = []
    for rank in range(world):
        pool = Pool(Layout(size, per_process, per_device, rank, world), SHAPE, seed=3, device=CPU)
        pool.put(pool.first, rows_of(torch.arange(pool.first, pool.first + len(pool.rows))))
        pools.append(pool)
    history = torch.zeros(steps, batch, dtype=torch.int64)
    for step in range(steps):
        for micro in range(per_process // per_device):
            starts = [rank * per_process + micro * per_device for rank in range(world)]
            fresh = [rows_of(size + step * batch + start + torch.arange(per_device)) for start in starts]
            for start, rows in zip(starts, exchange(pools, fresh, step, micro), strict=True):
                history[step, start : start + per_device] = position_of(rows)
    return history, position_of(torch.cat([pool.rows for pool in pools]))


@pytest.mark.parametrize(("size", "batch"), [(7, 12), (12, 12), (13, 12), (40, 12), (1, 12), (100, 12)])
def test_every_world_and_accumulation_trains_on_the_same_pairs(size: int, batch: int) -> None:
    reference = trained_positions(size, batch, 1, batch, 9)
    for world, per_device in ((1, 3), (2, 6), (2, 2), (3, 4), (4, 1), (6, 2), (12, 1)):
        history, pool = trained_positions(size, batch, world, per_device, 9)
        assert torch.equal(history, reference[0]), (world, per_device)
        assert torch.equal(pool, reference[1]), (world, per_device)


@pytest.mark.parametrize(("size", "batch"), [(7, 12), (40, 12), (100, 8)])
def test_no_pair_is_lost_and_none_is_trained_on_twice(size: int, batch: int) -> None:
    history, pool = trained_positions(size, batch, 2, batch // 2, 30)
    seen = torch.cat([history.flatten(), pool])
    assert torch.equal(seen.sort().values, torch.arange(size + 30 * batch))


def test_a_single_rank_swaps_as_planned() -> None:
    pool = Pool(Layout(10, 4, 4, 0, 1), SHAPE, seed=3, device=CPU)
    pool.put(0, rows_of(torch.arange(10)))
    slots = pool.drawn(0)
    trained = pool.swap(SHAPE.pairs(rows_of(torch.arange(10, 14))), 0, 0)
    assert torch.equal(position_of(SHAPE.rows(trained)), slots)
    assert torch.equal(position_of(pool.rows)[slots], torch.arange(10, 14))


def test_the_age_of_what_is_trained_on_is_geometric_with_mean_size_over_batch() -> None:
    size, batch, steps = 60, 6, 900
    history, _ = trained_positions(size, batch, 2, 3, steps)
    made = torch.div(history - size, batch, rounding_mode="floor")  # the step that made it; negative: the first fill
    age = (torch.arange(steps)[:, None] - made)[steps // 3 :].flatten().double()
    p = batch / size
    # An age of k steps means: not drawn in k-1 of them, then drawn. 6000 samples: mean 10 +- 0.13, P(1) 0.1 +- 0.004.
    assert age.min() == 1
    assert abs(age.mean() - 1 / p) < 0.5
    for k in (1, 2, 5, 10, 20):
        expected = p * (1 - p) ** (k - 1)
        assert abs((age == k).double().mean() - expected) < 5 * (expected / len(age)) ** 0.5


def test_every_rank_receives_from_every_rank_equally_often() -> None:
    world, size, batch, steps = 4, 64, 16, 200
    layout = [Layout(size, batch // world, batch // world, rank, world) for rank in range(world)]
    pool = Pool(layout[0], SHAPE, seed=3, device=CPU)
    traffic = torch.zeros(world, world)
    for step in range(steps):
        slots = pool.drawn(step)
        for rank in range(world):
            traffic[rank] += torch.tensor(plan_route(slots, layout[rank], 0).receive_counts)
    assert torch.equal(traffic, traffic.T)  # a fresh pair out for every old one in
    expected = 2 * steps * batch / world**2
    assert (traffic - expected).abs().max() < 5 * expected**0.5 * 2**0.5


def test_the_draw_is_without_replacement_and_differs_from_step_to_step() -> None:
    pool = Pool(Layout(50, 12, 12, 0, 1), SHAPE, seed=3, device=CPU)
    draws = [pool.drawn(step) for step in range(20)]
    assert all(len(set(draw.tolist())) == 12 and draw.max() < 50 for draw in draws)
    assert len({tuple(draw.tolist()) for draw in draws}) == 20


@pytest.mark.parametrize("seed", [3, 4])
def test_the_draw_follows_from_the_seed_and_the_step(seed: int) -> None:
    pool = Pool(Layout(40, 6, 3, 0, 2), SHAPE, seed, CPU)
    for step in (0, 5, 5, 0):
        order = torch.argsort(uniforms(Keys(seed, torch.tensor([step])), DataPurpose.POOL, 40)[0])
        assert torch.equal(pool.drawn(step), order[:12])
