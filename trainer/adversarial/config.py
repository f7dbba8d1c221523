"""The configuration of the adversarial part: the discriminator, how it learns, what it says, and when."""

from dataclasses import dataclass, field

from trainer.adversarial.adaptive_d import AdaptiveDConfig
from trainer.adversarial.phases import PhasesConfig
from trainer.losses.adversarial import AdversarialLoss, R1Penalty
from trainer.networks import DiscriminatorConfig, UNetDiscriminatorSNConfig
from trainer.optim.lr_plateau import LRSchedule
from trainer.optim.lr_schedules import Constant
from trainer.optim.optimizers import OptimizerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorOptimizerConfig(OptimizerConfig):
    """As the generator's optimizer, at half of its rate by default: two time scales."""

    learning_rate: float = 1e-4
    """The full rate, before the schedule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialConfig(PhasesConfig):
    """The discriminator and adversarial training: Real-ESRGAN's by default, the guide's by its options."""

    discriminator: DiscriminatorConfig = field(default_factory=UNetDiscriminatorSNConfig)
    """The network that tells results from ground truth."""
    optimizer: DiscriminatorOptimizerConfig = field(default_factory=DiscriminatorOptimizerConfig)
    """The discriminator's optimizer: a two-time-scale update rule is another learning_rate than the generator's."""
    lr_scheduler: LRSchedule = field(default_factory=Constant)
    """The discriminator's schedule, on the run's clock as all steps are: a warm-up must outlast the pretraining."""
    loss: AdversarialLoss = field(default_factory=AdversarialLoss)
    r1: R1Penalty | None = None
    """The penalty on the discriminator's gradient at real pictures."""
    adaptive_d: AdaptiveDConfig | None = None
    """Hold the discriminator back while it is winning."""

    def __post_init__(self) -> None:
        PhasesConfig.__post_init__(self)
        if 0 < (warmup := self.lr_scheduler.lr_warmup_steps) <= self.g_pretrain_steps:
            raise ValueError(
                f"lr_scheduler.lr_warmup_steps: got {warmup}, which is over before the discriminator joins; "
                f"must be above g_pretrain_steps {self.g_pretrain_steps}, or 0"
            )
        if self.adaptive_d and not self.loss.probabilistic:
            kind = "relativistic: true" if self.loss.relativistic else f"type: {self.loss.type}"
            raise ValueError(f"adaptive_d: with loss.{kind} the discriminator gives no probabilities to compare")
