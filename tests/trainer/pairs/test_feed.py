"""The pictures of a step are read before anything is made of them, and a step that lacks some is not begun."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests.driving import Driver
from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.distributed.waiting import GivenUp
from trainer.experiment import Experiment
from trainer.images.crops import ImageBatch
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.start import fill_pool
from trainer.loop import agree, fit
from trainer.mistakes import Failure
from trainer.pairs.feed import Feed
from trainer.state import TrainState

SMALL = ("validation=null", "telemetry.report_to=none", "queue_size=6", "batch.per_device=1", "gt_size=16")


@pytest.fixture
def x(tiny: Callable[..., RunConfig], fresh_accelerate: Any) -> Experiment:  # noqa: ARG001
    config = tiny(*SMALL, "images.crop_size=24")
    return assemble(config, make_accelerator(config))


class Cut(Iterator[ImageBatch]):
    """Batches of a source that ends with GivenUp after the first `count`."""

    def __init__(self, images: Iterator[ImageBatch], count: int) -> None:
        self.images, self.left = images, count

    def __next__(self) -> ImageBatch:
        if not self.left:
            raise GivenUp("rank 0: waiting for a batch, for 7200 s: too long.")
        self.left -= 1
        return next(self.images)


def test_the_pool_is_as_it_was_until_pairs_are_asked_for(x: Experiment) -> None:
    fill_pool(x)
    assert x.model.pool
    before, driver = x.model.pool.rows.clone(), Driver(x)
    feed = driver.feed
    assert x.model.batch.accumulation > 1
    feed.read_step()
    feed.read_step()  # which has it already
    assert len(feed.read) == x.model.batch.accumulation
    assert torch.equal(x.model.pool.rows, before)
    came = driver.pairs()
    assert not torch.equal(x.model.pool.rows, before)
    driver.advance()
    came += driver.pairs()
    places = torch.cat([pair.positions for pair in came])
    assert len(places.unique()) == len(places)


def test_a_step_that_lacks_a_micro_batch_is_not_begun_and_the_run_is_saved_before_it(
    x: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The networks, the pool and the digests are then those of the last whole step."""
    per_step = x.model.batch.accumulation

    loader = Feed._from_here
    monkeypatch.setattr(Feed, "_from_here", lambda feed: Cut(loader(feed), 2 * per_step + 1))
    with pytest.raises(Failure, match=r"too long\. The run is saved at step 2; the same command resumes it\."):
        fit(x)
    assert x.saver.checkpoints.steps()[-1] == 2
    held = x.saver.checkpoints.load_pool(2, 0, 6)
    assert x.model.pool
    assert held is not None
    assert torch.equal(held, x.model.pool.rows)
    state: TrainState = x.state
    assert (state.step, state.stream.position) == (2, 6 + 2 * x.model.batch.global_size)


def test_after_the_last_step_nothing_is_read(x: Experiment) -> None:
    feed = x.open_feed()
    x.state.step = x.config.max_train_steps
    assert agree(x, feed).stop == ""
    assert not feed.read
