"""The pictures of a step are read before anything is made of them, and a step that lacks some is not begun."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from trainer.config.schema import RunConfig
from trainer.distributed.waiting import GivenUp
from trainer.experiment import Experiment
from trainer.images.crops import ImageBatch
from trainer.lifecycle.accelerator import make_accelerator
from trainer.lifecycle.assemble import assemble
from trainer.loop import agree, fit
from trainer.mistakes import Failure
from trainer.pairs.feed import Feed, PairFactory
from trainer.state import TrainState

SMALL = ("validation=null", "telemetry.report_to=none", "queue_size=6", "batch.per_device=1", "gt_size=16")


@pytest.fixture
def x(tiny: Callable[..., RunConfig], fresh_accelerate: Any) -> Experiment:  # noqa: ARG001
    config = tiny(*SMALL, "images.crop_size=24")
    return assemble(config, make_accelerator(config))


class Cut(Iterator[ImageBatch]):
    """Pictures of which only some come."""

    def __init__(self, images: Iterator[ImageBatch], count: int) -> None:
        self.images, self.left = images, count

    def __next__(self) -> ImageBatch:
        if not self.left:
            raise GivenUp("rank 0: waiting for a batch, for 7200 s: too long.")
        self.left -= 1
        return next(self.images)


def test_the_pool_is_as_it_was_until_pairs_are_asked_for(x: Experiment) -> None:
    x.fill_pool()
    assert x.pool
    before, pairs = x.pool.rows.clone(), x.pairs()
    assert x.batch.accumulation > 1
    pairs.read_step()
    pairs.read_step()  # which has it already
    assert len(pairs.read) == x.batch.accumulation
    assert torch.equal(x.pool.rows, before)
    came = [next(pairs) for _ in range(x.batch.accumulation + 1)]
    assert (pairs.step, pairs.number) == (1, 1)
    assert len(pairs.read) == x.batch.accumulation - 1  # the second step was read as a whole too
    places = torch.cat([pair.positions for pair in came])
    assert len(places.unique()) == len(places)


def test_a_step_that_lacks_a_micro_batch_is_not_begun_and_the_run_is_saved_before_it(
    x: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The networks, the pool and the digests are then those of the last whole step."""
    per_step = x.batch.accumulation

    def cut(factory: PairFactory, step: int) -> Feed:
        feed = Feed(factory, step)
        feed.images = Cut(feed.images, 2 * per_step + 1)  # type: ignore[assignment]
        return feed

    monkeypatch.setattr("trainer.experiment.Feed", cut)
    with pytest.raises(Failure, match=r"too long\. The run is saved at step 2; the same command resumes it\."):
        fit(x)
    assert x.saver.checkpoints.steps()[-1] == 2
    held = x.saver.checkpoints.load_pool(2, 0, 6)
    assert x.pool
    assert held is not None
    assert torch.equal(held, x.pool.rows)
    state: TrainState = x.state
    assert (state.step, state.stream.position) == (2, 6 + 2 * x.batch.global_size)


def test_after_the_last_step_nothing_is_read(x: Experiment) -> None:
    pairs = x.pairs()
    x.state.step = x.config.max_train_steps
    assert agree(x, pairs).stop == ""
    assert not pairs.read
