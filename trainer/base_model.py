"""The parts of every model: networks with their learners, losses, maker of pairs, and the state of the training."""

from collections.abc import Mapping
from functools import cached_property
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from degradations.keyed_random import Keys
from degradations.operations.sharpen import usm_sharpen
from trainer.adversarial.adaptive_d import AdaptiveD
from trainer.adversarial.phases import SOLO, Phase
from trainer.building.learners import make_learners
from trainer.building.measure import make_metrics
from trainer.building.objective import feature_networks, make_features, make_objective
from trainer.building.pairs import make_pool, make_synthesis
from trainer.config.schema import RunConfig
from trainer.distributed.batch import BatchPlan, plan_batch
from trainer.distributed.ranks import on_main
from trainer.images.levels import unit
from trainer.mistakes import Mistake
from trainer.networks.keyed_masks import KeyedMasks
from trainer.networks.keyed_rng import seed_generators
from trainer.networks.loading.initial import InitConfig
from trainer.networks.network import Network
from trainer.objective import Objective, Targets
from trainer.optim.compiling import COST, check_compiler, compile_in_place
from trainer.optim.ema import smoothed
from trainer.optim.learner import Learner
from trainer.optim.lr_plateau import Plateau
from trainer.optim.plateau_metrics import PlateauMeans
from trainer.pairs.making import PairMaker
from trainer.pairs.pool import Pool
from trainer.pairs.stream import Stream
from trainer.pairs.synthesis import PairBatch, Synthesis
from trainer.state import TrainState
from trainer.telemetry.timers import Stopwatch
from trainer.validation.metrics import Metrics


class BaseModel:
    """Networks, optimizers, losses, pool and average of a configuration, on this process's device.

    Parameters
    ----------
    init : the weights to begin with, if not those of the configuration
    stream : the pictures that are trained on, and how far they were; a new stream by default
    net_g, net_d : own networks in place of the configured ones
    batch : the pairs at a time, where that was found out; of `batch.per_device: auto` the process's share by default

    Building is collective. Raises Mistake, on every rank alike, for anything that a person can put right.
    """

    def __init__(
        self,
        config: RunConfig,
        accelerator: Accelerator,
        *,
        init: InitConfig | None = None,
        stream: Stream | None = None,
        net_g: nn.Module | None = None,
        net_d: nn.Module | None = None,
        batch: BatchPlan | None = None,
    ) -> None:
        set_numerics(config)
        self.config, self.accelerator = config, accelerator
        self.batch = batch or plan_batch(config.batch, accelerator.num_processes)
        if config.mixing:
            config.mixing.check(self.batch)
        self.notes: list[str] = []
        """Sentences on how it was put together, for the person who starts it."""
        generator, discriminator, loaded = make_learners(config, accelerator, init or config.init, net_g, net_d)
        average = smoothed(generator.net, config.ema, generator.optimizer.optimizer)
        self.state = TrainState(generator, discriminator, average, stream or Stream(pictures=0, names=""))
        # after the average was copied, which never draws
        self.masks = {name: KeyedMasks(one.net, config.seed, name) for name, one in self.state.learners.items()}
        if config.adversarial and config.adversarial.adaptive_d:
            self.state.adaptive_d = AdaptiveD(accelerator, config.adversarial.adaptive_d)
        self.features = make_features(config, discriminator.net if discriminator else None)
        """The discriminator's layers that a loss compares."""
        schedules = [learner.schedule for learner in self.state.learners.values()]
        if metrics := [schedule.metric for schedule in schedules if isinstance(schedule, Plateau)]:
            self.state.plateau_means = PlateauMeans(accelerator, [*metrics, "discriminator/paused"])
        if config.gradient_checkpointing:
            try:
                cast(Network, generator.net).enable_gradient_checkpointing()
            except ValueError as error:
                raise Mistake(f"gradient_checkpointing: {error}.") from error
        if config.compile:
            on_main(accelerator, lambda: check_compiler(accelerator.device), "trying the compiler")
            self.notes.append(COST)
            for learner in self.state.learners.values():
                compile_in_place(learner.net)
        self.stopwatch = Stopwatch(accelerator.device)
        synthesis, pool = make_synthesis(config, accelerator), make_pool(config, self.batch, accelerator)
        self.maker = PairMaker(synthesis, pool, accelerator.device, self.stopwatch)
        self.fed: list[PairBatch] = []
        """The micro-batches of pairs that the coming step trains on."""
        self.last: PairBatch | None = None
        """The micro-batch that was made last."""
        self.output: Tensor | None = None
        """The generator's result for the micro-batch that was trained on last, float [b, C, H, W] without gradient."""
        self.notes += loaded

    @cached_property
    def objective(self) -> Objective:
        """The losses; made, and the weights of perceptual ones fetched, when they are first asked for. Collective."""
        objective = make_objective(self.config, self.accelerator, self.features)
        if self.config.compile:
            for net in feature_networks(objective):
                compile_in_place(net)
        return objective

    @cached_property
    def metrics(self) -> Metrics:
        """The metrics of a validation; made, and weights of learned ones fetched, when first asked for. Collective."""
        return make_metrics(self.config, self.accelerator)

    @property
    def generator(self) -> Learner:
        """The generator with its optimizer."""
        return self.state.generator

    @property
    def discriminator(self) -> Learner | None:
        """The discriminator with its optimizer; None where the generator trains alone."""
        return self.state.discriminator

    @property
    def synthesis(self) -> Synthesis:
        """The degradation of pictures to pairs."""
        return self.maker.synthesis

    @property
    def pool(self) -> Pool | None:
        """This rank's shard of the training-pair pool."""
        return self.maker.pool

    def phase(self, step: int) -> Phase:
        """The networks that learn at `step`, and the adversarial weight's share."""
        return self.config.adversarial.phase(step) if self.config.adversarial else SOLO

    def keys(self, number: int, size: int) -> Keys:
        """The keys of random numbers for the `size` places of this rank's micro-batch `number` of the present step."""
        places = self.batch.positions(self.state.step, self.accelerator.process_index, number)
        return Keys(self.config.seed, torch.tensor(places[:size]))

    def seed_generators(self, number: int, network: str) -> None:
        """Key what a pass of `network` draws, such as Dropout's masks, by the places of micro-batch `number`."""
        places = self.batch.positions(self.state.step, self.accelerator.process_index, number)
        seed_generators(self.accelerator.device, self.config.seed, places[0], network)
        drawing = [masks for masks in self.masks.values() if masks.count]  # both: each step asks the other network too
        if drawing:
            here = torch.tensor(places).to(self.accelerator.device, non_blocking=True)
            for masks in drawing:
                masks.place(here)

    def targets(self, pairs: PairBatch) -> Targets:
        """The ground truth of each loss, sharpened if its `..._gt_usm` is true."""
        config, layout = self.config, self.generator.layout
        plain = unit(pairs.gt, layout)
        flags = (config.l1_gt_usm, config.percep_gt_usm, config.gan_gt_usm)
        sharp = usm_sharpen(plain).contiguous(memory_format=layout) if any(flags) else plain
        return Targets(*(sharp if flag else plain for flag in flags))

    def set_rates(self, step: int) -> None:
        """Set the learning rates of `step`, which schedules and plateaus give."""
        for learner in self.state.learners.values():
            learner.set_rate(step, self.config.max_train_steps)

    def step_plateaus(self, validated: Mapping[str, float]) -> None:
        """Step the plateau schedules of the networks in training, by a validation and the means since the last one.

        Collective. None of it goes through the reports: how often a run reports does not change what it trains.
        """
        adversarial, step = self.config.adversarial, self.state.step
        means = self.state.plateau_means.means() if self.state.plateau_means else {}
        metrics = {**validated, **self.state.rates(), **means}
        phase = self.phase(step - 1)
        if adversarial is None or adversarial.generator_learns(step):
            self.generator.step_plateau(metrics, step, phase.objective)
        paused = metrics.get("discriminator/paused") == 1  # at every step, and by all ranks
        if self.discriminator and phase.train_discriminator and not paused:
            self.discriminator.step_plateau(metrics, step)


def set_numerics(config: RunConfig) -> None:
    """Set TensorFloat-32 as configured; convolutions deterministic, or a resumed run would be another run."""
    torch.set_float32_matmul_precision("high" if config.allow_tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = config.allow_tf32
    torch.backends.cudnn.deterministic = True
