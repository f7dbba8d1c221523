"""A run: the model, with the data, records and ends around its training."""

from collections.abc import Callable
from dataclasses import dataclass

from accelerate import Accelerator

from trainer.checkpoints.run_folder import RunFolder
from trainer.config.schema import RunConfig
from trainer.distributed.agreement import AsyncScalar, StopConsensus
from trainer.files.write_policy import Disk
from trainer.hub.pusher import Pusher
from trainer.images.sources import ImageSource
from trainer.images.streaming.dataset import Shards
from trainer.images.unreadable import UnreadableImages
from trainer.models import RealESRNetModel
from trainer.pairs.feed import Feed
from trainer.saving import Saver
from trainer.state import TrainState
from trainer.telemetry.intervals import Intervals
from trainer.telemetry.reporter import Telemetry
from trainer.validation.validator import Validator


@dataclass(frozen=True, slots=True)
class Experiment:
    """The parts of a run. Only the model knows networks, losses and degradations."""

    config: RunConfig
    accelerator: Accelerator
    folder: RunFolder
    model: RealESRNetModel
    source: ImageSource | Shards
    """The pictures to train on."""
    open_feed: Callable[[], Feed]
    """Opens this rank's training pictures, from where the run stands."""
    saver: Saver
    pusher: Pusher | None
    """On rank 0, if the run goes to the hub."""
    control: StopConsensus
    disk: Disk
    skips: AsyncScalar
    telemetry: Telemetry
    unreadable: UnreadableImages
    validator: Validator | None
    intervals: Intervals
    notes: list[str]
    """Sentences for the person who starts the run, on how it was put together."""

    @property
    def state(self) -> TrainState:
        """The state of the training, as checkpoints hold it."""
        return self.model.state
