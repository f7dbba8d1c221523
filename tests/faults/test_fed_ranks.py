"""Pictures fed by a program, a part on each rank: one pool, and the same weights as on one rank."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.faults.forked import TINY, Job
from trainer import Mistake, RealESRGANModel
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig

pytestmark = pytest.mark.launch
SETTINGS = ("validation=null", "adversarial.discriminator={type: UNetDiscriminatorSN, num_feat: 4}", "queue_size=6")
PAIRS, STEPS = 2, 3


def pictures(positions: range) -> dict[str, Tensor]:
    """One picture for each stream position of the training."""
    return {"gt": torch.stack([torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(p)) for p in positions])}


def by_hand(arguments: Sequence[str]) -> int:
    """Train as a user's program does, on this rank's part of the pictures; rank 0 saves the weights."""
    model = RealESRGANModel(load_config(RunConfig, TINY, [*SETTINGS, f"batch.per_device={PAIRS}"]))
    rank = model.accelerator.process_index
    assert model.pool is not None
    first, end = model.pool.layout.shard(rank)
    model.fill_pool(pictures(range(at, min(at + PAIRS, end))) for at in range(first, end, PAIRS))
    for step in range(1, STEPS + 1):
        start = 6 + 4 * (step - 1) + rank * model.batch.per_process
        for number in range(model.batch.accumulation):
            model.feed_data(pictures(range(start + number * PAIRS, start + (number + 1) * PAIRS)))
        model.optimize_parameters(step)
    if rank == 0:
        torch.save({name: part.net.state_dict() for name, part in model.state.learners.items()}, arguments[0])
    return 0


def uneven(arguments: Sequence[str]) -> int:
    """Feed batches of another length on each rank; then other weights."""
    model = RealESRGANModel(load_config(RunConfig, TINY, [*SETTINGS, "queue_size=0", "batch.global_size=4"]))
    rank = model.accelerator.process_index
    other = deepcopy(model.net_g)
    next(other.parameters()).data += rank
    said = []
    for wrong in (
        lambda: model.feed_data(pictures(range(1 + rank))),
        lambda: model.load_network(other),
    ):
        try:
            wrong()
        except Mistake as mistake:
            said.append(str(mistake))
    Path(f"{arguments[0]}.{rank}").write_text("\n".join(said))
    return 0


def test_ranks_that_are_fed_or_load_other_things_say_so_together(tmp_path: Path) -> None:
    job = Job(2, tmp_path / "log", [str(tmp_path / "said")], uneven)
    try:
        assert job.wait(90) == [0, 0], (tmp_path / "log").read_text()
    finally:
        job.end()
    for rank in (0, 1):
        batches, weights = (tmp_path / f"said.{rank}").read_text().split("\n")
        assert batches.startswith("feed_data: pictures: rank 1 on ")
        assert batches.endswith(
            "the first batches of all processes must be of one length: their positions follow from it."
        )
        assert weights.startswith("load_network(net_g): rank 1 on ")
        assert weights.endswith("every process must load the same weights.")


def weights_of(world: int, folder: Path) -> dict[str, dict[str, Any]]:
    """State dicts after training on `world` ranks, as rank 0 saved them."""
    file = folder / f"{world}.pt"
    job = Job(world, folder / f"{world}.log", [str(file)], partial(by_hand))
    try:
        assert job.wait(90) == [0] * world, (folder / f"{world}.log").read_text()
    finally:
        job.end()
    found: dict[str, dict[str, Any]] = torch.load(file, weights_only=True)
    return found


def test_two_ranks_that_are_fed_their_parts_come_to_the_weights_of_one(tmp_path: Path) -> None:
    one, two = (weights_of(world, tmp_path) for world in (1, 2))
    for network, state in one.items():
        for name, value in state.items():
            torch.testing.assert_close(two[network][name], value, rtol=0, atol=2e-6, msg=f"{network} {name}")
