"""The whole configuration of a run: it composes what the owners declare, and checks what only the whole can know."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from degradations.parse import Degradation
from degradations.second_order import SecondOrder
from trainer.adversarial.config import AdversarialConfig
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import CheckpointsConfig
from trainer.config.annotations import mistyped
from trainer.config.hub import HubConfig
from trainer.config.metric_names import watchable
from trainer.distributed.batch import BatchConfig
from trainer.distributed.waiting import DistributedConfig
from trainer.files.bounded_yaml import shorter
from trainer.files.paths import PathText
from trainer.images.crops import TrainingImagesConfig
from trainer.images.streaming.dataset import StreamedDataset
from trainer.losses import LossesConfig
from trainer.networks import GeneratorConfig, RRDBNetConfig
from trainer.networks.loading.initial import InitConfig
from trainer.optim.ema import EMAConfig
from trainer.optim.learner import OptimizerConfig
from trainer.optim.lr_plateau import LRSchedule, Plateau
from trainer.optim.lr_schedules import Constant
from trainer.telemetry.config import TelemetryConfig
from trainer.validation.validator import ValidationConfig

_EACH = "{0} and adversarial.{0}"
_GAME = (
    *("pretrain_g_only", "g_pretrain_steps", "pretrain_objective", "adv_loss_ramp_steps", "adv_loss_schedule"),
    *("net_d_iters", "net_d_init_iters", "loss.label_smoothing"),
)
NAMES = {
    **{key.rpartition(".")[2]: f"adversarial.{key}" for key in _GAME},
    "g_warmup_steps": "lr_scheduler.lr_warmup_steps",
    "g_warmup_type": "lr_scheduler.lr_warmup_type",
    "metric_g": "lr_scheduler.metric, with type: plateau",
    "metric_d": "adversarial.lr_scheduler.metric, with type: plateau",
    "patience_g": "lr_scheduler.patience",
    "patience_d": "adversarial.lr_scheduler.patience",
    "factor_g": "lr_scheduler.factor",
    "factor_d": "adversarial.lr_scheduler.factor",
    "optim_g_lr": "optimizer.learning_rate",
    "optim_d_lr": "adversarial.optimizer.learning_rate",
    "weight_decay_g": "optimizer.weight_decay",
    "weight_decay_d": "adversarial.optimizer.weight_decay",
    "gradient_clip_val": _EACH.format("optimizer.max_grad_norm"),
    "adv_loss_beta": "adversarial.loss.weight",
    "adv_loss_type": "adversarial.loss.type",
    "relativistic_average_d": "adversarial.loss.relativistic",
    "r1_gamma": "adversarial.r1.gamma",
    "perceptual_metric": "losses.perceptual.type",
    "perceptual_weight": "losses.perceptual.weight",
    "l1_weight": "losses.pixel.weight",
    "sam_weight": "losses.sam.weight",
    "tv_weight": "losses.tv.weight",
    "scaling_factor": "scale",
    "manual_seed": "seed",
    "total_iter": "max_train_steps",
    "ema_decay": "ema.decay",
    "use_num_updates": "ema.warmup_power",
    "network_g": "generator",
    "network_d": "adversarial.discriminator",
    "pretrain_network_g": "init.generator",
    "pretrain_network_d": "init.discriminator",
    "optim_g": "optimizer",
    "optim_d": "adversarial.optimizer",
    "lr": _EACH.format("optimizer.learning_rate"),
    "warmup_iter": "lr_scheduler.lr_warmup_steps",
    "pixel_opt": "losses.pixel",
    "perceptual_opt": "losses.perceptual",
    "gan_opt": "adversarial.loss",
    "gan_type": "adversarial.loss.type",
    **dict.fromkeys(("batch_size", "train_batch_size"), "batch.global_size and batch.per_device"),
    "batch_size_per_gpu": "batch.per_device",
    "num_worker_per_gpu": "images.dataloader_num_workers",
    "val_freq": "validation.validation_steps",
    "save_img": "validation.save_images",
    "filename_tmpl": "images.pairs.lq_name",
    **dict.fromkeys(("meta_info", "meta_info_file"), "images.source.list, or images.pairs.list"),
    **dict.fromkeys(("strict_load_g", "strict_load_d"), "init.partial, which is the opposite"),
    "wandb": "telemetry.report_to and telemetry.tracker_options",
    "val_check_interval": "validation.validation_steps",
    "save_checkpoint_freq": "checkpoints.checkpointing_steps",
    "print_freq": "telemetry.report_steps",
    "adaptive_d_threshold": "adversarial.adaptive_d.threshold",
    "adaptive_d_ema_decay": "adversarial.adaptive_d.ema_decay",
}
"""Keys of the guide's framework, of Real-ESRGAN and of traiNNer-redux that have other names, or places, here."""

RESUMING = "running the same command again resumes the run, from the newest checkpoint in its folder"
ADVICE = {
    "adversarial": "configs/realesrgan_x4plus.yaml has such a section",
    "ema": "ema.decay=0 switches the average off",
    "mixed_precision": "'no' is fp32",
    **dict.fromkeys(("resume", "resume_state", "resume_from_checkpoint", "auto_resume"), RESUMING),
}
"""What to do instead, behind the sentence against a value of these keys."""
NAME_BYTES = 200
"""Of a file system's 255, so that a suffix still fits: a run that is moved aside is NAME.until-20261126-120000."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One run. Everything that it is follows from this and from the images."""

    ELSEWHERE: ClassVar[dict[str, str]] = NAMES
    ADVICE: ClassVar[dict[str, str]] = ADVICE

    name: str
    """The run folder is `output_dir`/`name`."""
    output_dir: PathText = "outputs"
    """Where run folders lie."""
    seed: int = 0
    """The key of every draw: order, crops, flips, degradations, initial weights."""
    scale: Literal[1, 2, 3, 4, 8] = 4
    """How many times larger the result is than the input, per side."""
    max_train_steps: int
    """Optimizer steps of the whole run."""
    max_hours: float | None = None
    """A time budget: after so many hours the run saves itself and stops, and the same command resumes it."""
    max_skipped: int = 10
    """Steps with a gradient that is not finite are skipped; after so many in a row the run stops and leaves a dump. In
    fp16 those count that are skipped at a loss scale of 1, which is the lowest."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """bf16 and fp16 autocast the forward passes. fp16, for GPUs before Ampere, scales each player's loss, from 65536
    on: steps whose gradient overflows halve that and are skipped, as a few are in every run."""
    allow_tf32: bool = True
    """Matrix products and convolutions in TensorFloat-32 where the GPU has it."""
    compile: bool = False
    """torch.compile for the networks, meant for GPUs: the same results to rounding, after a slower start. A resumed run
    may switch it."""

    images: TrainingImagesConfig
    gt_size: int = 256
    """Side of the ground-truth patch that the networks see, cut from the degraded crop."""
    gt_usm: bool = False
    """The ground truth is the photograph sharpened by Real-ESRGAN's unsharp mask (RealESRNet)."""
    degrade_gt_usm: bool = False
    """The degradation starts from the sharpened photograph, the ground truth does not (RealESRGAN)."""
    l1_gt_usm: bool = False
    """The pixel loss aims at ground truth that is sharpened after cutting."""
    percep_gt_usm: bool = False
    """The perceptual loss aims at ground truth that is sharpened after cutting."""
    gan_gt_usm: bool = False
    """The discriminator's real pictures are sharpened after cutting."""
    high_order_degradation: bool = True
    """Clean pictures are degraded; false trains on the given pairs of `images.pairs` alone."""
    degradation: Degradation = field(default_factory=SecondOrder)
    """What makes a low-quality picture of a clean one: Real-ESRGAN's two orders, or a list of operations."""
    batch: BatchConfig = field(default_factory=BatchConfig)
    queue_size: int = 720
    """Pairs in the training-pair pool, in total over all processes (upstream: 180 on each of 4 GPUs); 0 is no pool."""

    init: InitConfig = field(default_factory=InitConfig)

    generator: GeneratorConfig = field(default_factory=RRDBNetConfig)
    """The network that enlarges."""
    losses: LossesConfig = field(default_factory=LossesConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lr_scheduler: LRSchedule = field(default_factory=Constant)
    """The schedule of the generator's learning rate."""
    ema: EMAConfig = field(default_factory=EMAConfig)
    adversarial: AdversarialConfig | None = None
    """The discriminator and the game; null trains the generator alone."""

    validation: ValidationConfig | None = None
    """Validation while training; null trains without it, and so without sample sheets."""
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    hub: HubConfig | None = None
    """Where the run is pushed to while it trains; null keeps it here."""

    def __post_init__(self) -> None:
        if problems := list(mistyped(self)) or self._problems():
            raise ValueError("\n".join(problems))

    def _problems(self) -> list[str]:
        """What the parts cannot see alone, a sentence each."""
        found = []
        if not 0 <= self.seed < 2**63:
            found.append(f"seed: got {self.seed}; must be at least 0 and below 2**63")
        if self.max_train_steps < 1:
            found.append(f"max_train_steps: got {self.max_train_steps}; must be at least 1")
        for key in ("max_skipped", "max_hours"):
            if (value := getattr(self, key)) is not None and value <= 0:
                found.append(f"{key}: got {value}; must be positive")
        if self.queue_size < 0:
            found.append(f"queue_size: got {self.queue_size}; must be at least 0")
        if problem := _problem_of_name(self.name):
            found.append(f"name: got {shorter(repr(self.name))}; {problem}")
        if self.scale not in (allowed := self.generator.scales):
            options = ", ".join(map(str, allowed))
            found.append(f"scale: got {self.scale}; generator.type {self.generator.type} can do {options}")
            return found
        found += self._problems_of_images()
        sizes = {"gt_size": self.gt_size} | ({"images.crop_size": self.images.crop_size} if self.images.source else {})
        for key, size in sizes.items():
            step = self.scale * self.generator.input_multiple(self.scale)
            if size < step or size % step:
                near = max(step, size // step * step)
                found.append(
                    f"{key}: got {size}; must be a multiple of {step} for {self.generator.type} x{self.scale}: "
                    f"{near} or {near + step} would do"
                )
        if self.degradation.value_range != (0, 1):
            found.append(f"degradation.value_range: got {list(self.degradation.value_range)}; a run's are [0, 1]")
        if self.adversarial and (problem := self.adversarial.discriminator.problem(self.gt_size)):
            found.append(f"gt_size: {problem}")
        if self.gt_usm and (self.degrade_gt_usm or self.l1_gt_usm or self.percep_gt_usm or self.gan_gt_usm):
            found.append("gt_usm: got true; it sharpens everything, so the other ..._gt_usm must be false")
        found += self._problems_of_bands()
        if self.percep_gt_usm and not self.losses.perceptual:
            found.append("percep_gt_usm: got true; there is no losses.perceptual for it")
        if self.gan_gt_usm and not self.adversarial:
            found.append("gan_gt_usm: got true; there is no adversarial section for it")
        if self.init.discriminator and not self.adversarial:
            found.append("init.discriminator: there is no adversarial section for it")
        found += self._problems_of_plateaus()
        if (
            self.hub
            and self.hub.strategy == "best"
            and not (self.validation and self.validation.best_by and self.checkpoints.keep_best)
        ):
            found.append(
                "hub.strategy: got 'best'; it needs a validation section with ground truth, and checkpoints.keep_best"
            )
        if self.images.source and self.gt_size > self.images.crop_size:
            found.append(f"gt_size: got {self.gt_size}; must be at most images.crop_size, {self.images.crop_size}")
        return found

    def _problems_of_plateaus(self) -> list[str]:
        """Whether the schedules that watch a figure will see it."""
        found = []
        schedules: dict[str, LRSchedule] = {"lr_scheduler": self.lr_scheduler}
        if self.adversarial:
            schedules["adversarial.lr_scheduler"] = self.adversarial.lr_scheduler
        for key, schedule in schedules.items():
            if not isinstance(schedule, Plateau):
                continue
            if self.validation is None:
                found.append(f"{key}: a plateau is seen at validations, and there is no validation section")
                continue
            metric = schedule.metric
            if metric.startswith("validation/") or "/" not in metric:
                who, known = "a validation", self.validation.metric_names(self.scale)
            else:
                who, known = "the training", watchable(self.losses, self.adversarial)
            if metric not in known:
                found.append(f"{key}.metric: got {metric}; {who} reports {', '.join(known)}")
        return found

    def _problems_of_bands(self) -> list[str]:
        """What does not go with the number of bands."""
        found, losses, bands = [], self.losses, self.images.bands
        if losses.perceptual and (problem := losses.perceptual.problem(bands)):
            found.append(f"losses.perceptual.{problem}")
        if losses.sam and bands < 2:
            found.append("losses.sam: must be null for pictures of one band, which have no spectrum")
        if isinstance(self.degradation, SecondOrder) and self.degradation.jpeg == "realesrgan" and bands != 3:
            found.append(f"degradation.jpeg: got 'realesrgan', which takes 3 bands and not {bands}; use 'libjpeg'")
        return found

    def _problems_of_images(self) -> list[str]:
        """Whether there is what is asked to be trained on."""
        found, images = [], self.images
        if self.high_order_degradation:
            if images.source is None:
                found.append("images.source: must be given, or high_order_degradation=false to train on pairs alone")
        else:
            if images.pairs is None:
                found.append("images.pairs: must be given where high_order_degradation is false")
            if images.source is not None:
                found.append("images.source: must be null where high_order_degradation is false: nothing is degraded")
            if self.queue_size:
                found.append(f"queue_size: got {self.queue_size}; must be 0 where high_order_degradation is false")
            if self.degrade_gt_usm:
                found.append("degrade_gt_usm: got true; nothing is degraded where high_order_degradation is false")
        if images.pairs and isinstance(images.source, StreamedDataset):
            found.append("images.pairs: cannot be mixed with a streamed source; use `type: dataset` or `folder`")
        if self.validation:
            found += [f"validation.{problem}" for problem in self.validation.problems(images.radiometry)]
        return found


def _problem_of_name(name: str) -> str | None:
    """Why a run cannot be called so; None where it can."""
    if not name or name[0] in ".-" or name != name.strip() or any(c in "/\\" or not c.isprintable() for c in name):
        return "must be a folder's name, of printed characters, which does not begin with '.' or '-'"
    if len(name.encode(errors="replace")) > NAME_BYTES:
        return f"must be at most {NAME_BYTES} bytes long"
    return None


RESUMABLE = (
    "max_train_steps",
    "max_hours",
    "max_skipped",
    "output_dir",
    "name",
    "batch.per_device",
    "images.dataloader_num_workers",
    "images.cache_mib",
    "images.max_picture_mib",
    # where the pictures lie; what they are is compared when a run is resumed
    "images.source.path",
    "images.source.list",
    "images.source.given",
    "images.pairs.gt",
    "images.pairs.lq",
    "images.pairs.path",
    "images.pairs.list",
    "mixed_precision",
    "allow_tf32",
    "compile",
    "losses",
    "optimizer",
    "lr_scheduler",
    "adversarial.optimizer",
    "adversarial.lr_scheduler",
    "adversarial.loss",
    "adversarial.r1",
    "adversarial.adaptive_d",
    "ema",
    "validation",
    "checkpoints",
    "telemetry",
    "distributed",
    "hub",
)
"""What a resumed run may change. The rest (data, degradation, seed, global batch, network) is what the run *is*."""


def folder_of(config: RunConfig) -> RunFolder:
    """The run's folder, there or not."""
    return RunFolder(Path(config.output_dir) / config.name)
