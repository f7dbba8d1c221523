"""The parts of a run, together: what the loop, its steps and its end are given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from degradations.keyed_random import Keys
from degradations.operations.sharpen import usm_sharpen
from trainer.adversarial.phases import SOLO, Phase
from trainer.checkpoints.run_folder import RunFolder
from trainer.config.schema import RunConfig
from trainer.distributed.agreement import AsyncScalar, StopConsensus
from trainer.distributed.batch import BatchPlan
from trainer.files.write_policy import Disk
from trainer.hub.pusher import Pusher
from trainer.images.levels import unit
from trainer.images.reading import TrainingDataset
from trainer.images.sources import ImageSource
from trainer.images.streaming.dataset import Shards
from trainer.images.unreadable import UnreadableImages
from trainer.networks.keyed_rng import seed_generators
from trainer.objective import Objective, Targets
from trainer.optim.learner import Learner
from trainer.pairs.feed import Feed, PairFactory
from trainer.pairs.pool import Pool
from trainer.pairs.synthesis import Pairs, Synthesis
from trainer.saving import Saver
from trainer.state import TrainState
from trainer.telemetry.intervals import Intervals
from trainer.telemetry.reporter import Telemetry
from trainer.validation.validator import Validator


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that a run is made of."""

    config: RunConfig
    accelerator: Accelerator
    folder: RunFolder
    batch: BatchPlan
    source: ImageSource | Shards
    samples: Callable[[], TrainingDataset]
    """Opens the training pictures anew, by position."""
    synthesis: Synthesis
    objective: Objective
    generator: Learner
    discriminator: Learner | None
    state: TrainState
    pool: Pool | None
    saver: Saver
    pusher: Pusher | None
    """On rank 0, where the run goes to the hub."""
    control: StopConsensus
    disk: Disk
    skips: AsyncScalar
    telemetry: Telemetry
    unreadable: UnreadableImages
    validator: Validator | None
    cadence: Intervals
    notes: list[str]
    """What a person should know of how it was put together."""

    def phase(self, step: int) -> Phase:
        """Who learns at `step`, and with what weight."""
        return self.config.adversarial.phase(step) if self.config.adversarial else SOLO

    def keys(self, number: int) -> Keys:
        """The keys of what is drawn for the places of this rank's micro-batch `number` of the present step."""
        places = self.batch.places(self.state.step, self.accelerator.process_index, number)
        return Keys(self.config.seed, torch.tensor(places))

    def seed_generators(self, number: int, player: str) -> None:
        """Let what `player`'s networks draw themselves follow from this rank's micro-batch `number` of the step."""
        first = self.batch.places(self.state.step, self.accelerator.process_index, number)[0]
        seed_generators(self.accelerator.device, self.config.seed, first, player)

    def targets(self, pairs: Pairs) -> Targets:
        """What each loss aims at, as the `..._gt_usm` say."""
        config, plain = self.config, unit(pairs.gt)
        flags = (config.l1_gt_usm, config.percep_gt_usm, config.gan_gt_usm)
        sharp = usm_sharpen(plain) if any(flags) else plain
        return Targets(*(sharp if flag else plain for flag in flags))

    def keep_watched(self, report: Mapping[str, Tensor]) -> None:
        """Keep what this step's report has for the plateaus. Collective."""
        if self.state.watched:
            self.state.watched.add(report, self.phase(self.state.step).objective)

    def watch_plateaus(self, validated: Mapping[str, float]) -> None:
        """Let the players that are being trained see what came of the steps since the last validation, and of this one.

        Collective. None of it goes through the reports: how often a run reports does not change what it trains.
        """
        game, step = self.config.adversarial, self.state.step
        means = self.state.watched.means() if self.state.watched else {}
        figures = {**validated, **self.state.rates(), **means}
        phase = self.phase(step - 1)
        if game is None or game.generator_learns(step):
            self.generator.observe(figures, step, phase.objective)
        paused = figures.get("discriminator/paused") == 1  # at every step, and by all ranks
        if self.discriminator and phase.train_discriminator and not paused:
            self.discriminator.observe(figures, step)

    def pairs(self) -> Feed:
        """This rank's micro-batches to train on, from where the run stands, without end."""
        return Feed(self.factory, self.state.step)

    def fill_pool(self) -> None:
        """Make the pairs that lie in the pool before the first step."""
        self.factory.fill_pool()

    @property
    def factory(self) -> PairFactory:
        """What makes this rank's pairs."""
        return PairFactory(
            samples=self.samples(),
            stream=self.state.stream,
            batch=self.batch,
            rank=self.accelerator.process_index,
            device=self.accelerator.device,
            synthesis=self.synthesis,
            pool=self.pool,
            unreadable=self.unreadable,
            watch=self.telemetry.watch,
        )
