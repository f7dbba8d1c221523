"""The schema of a run's configuration: sections declared beside their owners, and the checks across sections."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from degradations.parse import Degradation
from degradations.second_order import SecondOrder
from trainer.adversarial.config import AdversarialConfig
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import CheckpointsConfig
from trainer.config.annotations import mistyped
from trainer.config.found_generator import with_found_generator
from trainer.config.hub import HubConfig
from trainer.config.metric_names import plateau_metric_names
from trainer.config.renamed_keys import RENAMED_KEYS, RESUME_KEYS, RESUMING
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
from trainer.optim.lr_plateau import LRSchedule, Plateau
from trainer.optim.lr_schedules import Constant
from trainer.optim.optimizers import OptimizerConfig
from trainer.pairs.mixing import MixingConfig
from trainer.telemetry.config import TelemetryConfig
from trainer.validation.config import ValidationConfig

ADVICE = {
    "adversarial": "configs/realesrgan_x4plus.yaml has such a section",
    "ema": "ema.decay=0 switches the average off",
    "images": "images.source=FOLDER names a folder of pictures",
    "mixed_precision": "'no' is fp32",
    **dict.fromkeys(
        ("device", "gpu", "gpus", "gpu_ids", "num_gpu"),
        "PROCESSES=2 ./launch/local.sh sets how many GPUs train, CUDA_VISIBLE_DEVICES which",
    ),
    **dict.fromkeys(("epochs", "num_epochs", "max_epochs", "num_train_epochs"), "max_train_steps counts steps instead"),
    **dict.fromkeys(RESUME_KEYS, RESUMING),
}
"""Advice by key, appended to an error about its value."""
NAME_BYTES = 200
"""Largest length of a run's name, of a file system's 255, so that a suffix fits: a run that is moved aside is
NAME.until-20261126-120000."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """The configuration of a run, which with the images determines its result."""

    RENAMED_KEYS: ClassVar[dict[str, str]] = RENAMED_KEYS
    ADVICE: ClassVar[dict[str, str]] = ADVICE

    name: str
    """The run folder is `output_dir`/`name`."""
    output_dir: PathText = "outputs"
    """Folder that holds the run folders."""
    seed: int = 0
    """The key of every draw: order, crops, flips, degradations, initial weights."""
    scale: Literal[1, 2, 3, 4, 8] = 4
    """Enlargement per side: the result's height and width over the input's."""
    max_train_steps: int
    """Optimizer steps of the whole run."""
    max_hours: float | None = None
    """A time budget: after so many hours the run saves itself and stops, and the same command resumes it."""
    max_skipped: int = 10
    """Steps with a gradient that is not finite are skipped; after so many in a row the run stops and leaves a dump. In
    fp16 those count that are skipped at a loss scale of 1, which is the lowest."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """bf16 and fp16 autocast the forward passes. fp16, for GPUs before Ampere, scales each network's loss, from 65536
    on: steps whose gradient overflows halve that and are skipped, as a few are in every run."""
    allow_tf32: bool = True
    """Matrix products and convolutions in TensorFloat-32 where the GPU has it."""
    compile: bool = False
    """torch.compile for the networks, those of perceptual losses too, meant for GPUs: the same results to rounding,
    after a slower start. A resumed run may switch it."""
    gradient_checkpointing: bool = False
    """The generator's repeated blocks are computed again in its backward pass: much less memory, about a third more
    time, the same gradients. A resumed run may switch it."""

    images: TrainingImagesConfig
    gt_size: int = 256
    """Side of the ground-truth patch that the networks see, cut from the degraded crop."""
    gt_usm: bool = False
    """The ground truth is the photograph sharpened by Real-ESRGAN's unsharp mask (RealESRNet)."""
    degrade_gt_usm: bool = False
    """The degradation starts from the sharpened photograph, the ground truth does not (RealESRGAN)."""
    l1_gt_usm: bool = False
    """The pixel loss, and all others but the next two, aims at ground truth that is sharpened after cutting."""
    percep_gt_usm: bool = False
    """The perceptual and the contextual loss aim at ground truth that is sharpened after cutting."""
    gan_gt_usm: bool = False
    """The discriminator's real pictures, and so feature matching's, are sharpened after cutting."""
    high_order_degradation: bool = True
    """Clean pictures are degraded; false trains on the given pairs of `images.pairs` alone."""
    degradation: Degradation = field(default_factory=SecondOrder)
    """The degradation of clean pictures to low-quality ones: Real-ESRGAN's two orders, or a list of operations."""
    batch: BatchConfig = field(default_factory=BatchConfig)
    queue_size: int = 720
    """Pairs in the training-pair pool, in total over all processes (upstream: 180 on each of 4 GPUs); 0 is no pool."""
    mixing: MixingConfig | None = None
    """MixUp, CutMix and CutBlur of the pairs that are trained on, after the pool; null mixes nothing."""

    init: InitConfig = field(default_factory=InitConfig)

    generator: GeneratorConfig = field(default_factory=RRDBNetConfig)
    """The super-resolution network; with `init.generator`, null takes the one in that file."""
    losses: LossesConfig = field(default_factory=LossesConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lr_scheduler: LRSchedule = field(default_factory=Constant)
    """The schedule of the generator's learning rate."""
    ema: EMAConfig = field(default_factory=EMAConfig)
    adversarial: AdversarialConfig | None = None
    """The discriminator and adversarial training; null trains the generator alone."""

    validation: ValidationConfig | None = None
    """Validation while training; null trains without it, and so without sample sheets."""
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    hub: HubConfig | None = None
    """The repository on the model hub that the run is pushed to while it trains; null pushes nothing."""

    @classmethod
    def completed(cls, tree: dict[str, Any]) -> dict[str, Any]:
        """Keys and values with those added that a file decides."""
        return with_found_generator(tree)

    def __post_init__(self) -> None:
        if problems := list(mistyped(self)) or self._problems():
            raise ValueError("\n".join(problems))

    def _problems(self) -> list[str]:
        """Errors that no section can find alone, a sentence each."""
        found = self._problems_of_values()
        if self.scale not in (allowed := self.generator.scales):
            options = ", ".join(map(str, allowed))
            return [*found, f"scale: got {self.scale}; generator.type {self.generator.type} can do {options}"]
        return [
            *found,
            *self._problems_of_images(),
            *self._problems_of_sizes(),
            *self._problems_of_bands(),
            *self._problems_of_absent_sections(),
            *self._problems_of_plateaus(),
        ]

    def _problems_of_values(self) -> list[str]:
        """Values at the top of the configuration that are out of range."""
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
        if self.mixing and (problem := self.mixing.problem(self.batch)):
            found.append(f"batch.global_size: {problem}")
        if self.degradation.value_range != (0, 1):
            found.append(f"degradation.value_range: got {list(self.degradation.value_range)}; a run's are [0, 1]")
        if self.gt_usm and (self.degrade_gt_usm or self.l1_gt_usm or self.percep_gt_usm or self.gan_gt_usm):
            found.append("gt_usm: got true; it sharpens everything, so the other ..._gt_usm must be false")
        return found

    def _problems_of_sizes(self) -> list[str]:
        """Sides of crops and patches that the networks, or each other, do not allow."""
        found, source = [], self.images.source
        sizes = {"gt_size": self.gt_size} | ({"images.crop_size": self.images.crop_size} if source else {})
        step = self.scale * self.generator.input_multiple(self.scale)
        for key, size in sizes.items():
            if size < step or size % step:
                near = max(step, size // step * step)
                found.append(
                    f"{key}: got {size}; must be a multiple of {step} for {self.generator.type} x{self.scale}: "
                    f"{near} or {near + step} would do"
                )
        if self.adversarial and (problem := self.adversarial.discriminator.problem(self.gt_size)):
            found.append(f"gt_size: {problem}")
        if source and self.gt_size > self.images.crop_size:
            found.append(f"gt_size: got {self.gt_size}; must be at most images.crop_size, {self.images.crop_size}")
        return found

    def _problems_of_absent_sections(self) -> list[str]:
        """Keys that need a section which is null."""
        found = []
        if self.percep_gt_usm and not (self.losses.perceptual or self.losses.contextual):
            found.append("percep_gt_usm: got true; there is no losses.perceptual or losses.contextual for it")
        if self.gan_gt_usm and not self.adversarial:
            found.append("gan_gt_usm: got true; there is no adversarial section for it")
        if self.losses.feature_matching and not self.adversarial:
            found.append(
                "losses.feature_matching: must be null without an adversarial section, whose discriminator it needs"
            )
        if self.losses.ldl and not self.ema.decay:
            found.append("losses.ldl: needs an average to compare with; ema.decay is 0")
        if self.init.discriminator and not self.adversarial:
            found.append("init.discriminator: there is no adversarial section for it")
        has_best = self.validation and self.validation.best_by() and self.checkpoints.keep_best
        if self.hub and self.hub.strategy == "best" and not has_best:
            found.append(
                "hub.strategy: got 'best'; it needs a validation section with ground truth, and checkpoints.keep_best"
            )
        return [*found, *self._problems_of_keep_best()]

    def _problems_of_keep_best(self) -> list[str]:
        """Figures whose best is to be kept and that no validation measures."""
        known = self.validation.figures if self.validation else {}
        return [
            f"checkpoints.keep_best: got {name}; a validation measures {', '.join(known) or 'nothing'}"
            for name in self.checkpoints.kept_figures
            if name not in known
        ]

    def _problems_of_plateaus(self) -> list[str]:
        """Plateau schedules whose metric is never reported."""
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
                reporter, known = "a validation", self.validation.metric_names(self.scale)
            else:
                reporter, known = "the training", plateau_metric_names(self.losses, self.adversarial)
            if metric not in known:
                found.append(f"{key}.metric: got {metric}; {reporter} reports {', '.join(known)}")
            figure = self.validation.figures.get(metric.removeprefix("validation/"))
            if figure and metric.startswith("validation/") and figure.mode not in (None, schedule.mode):
                found.append(f"{key}.mode: got '{schedule.mode}'; of {metric} {figure.words}: mode: {figure.mode}")
        return found

    def _problems_of_bands(self) -> list[str]:
        """Settings that the number of bands does not allow."""
        bands = self.images.bands
        found = [f"losses.{problem}" for problem in self.losses.problems(bands, self.gt_size)]
        if isinstance(self.degradation, SecondOrder) and self.degradation.jpeg == "realesrgan" and bands != 3:
            found.append(f"degradation.jpeg: got 'realesrgan', which takes 3 bands and not {bands}; use 'libjpeg'")
        return found

    def _problems_of_images(self) -> list[str]:
        """Sources of pictures that are missing, unused or not compatible."""
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
    """The rule that a run's name breaks; None for a valid name."""
    if not name or name[0] in ".-" or name != name.strip() or any(c in "/\\" or not c.isprintable() for c in name):
        return "must be a folder's name, of printed characters, which does not begin with '.' or '-'"
    if len(name.encode(errors="replace")) > NAME_BYTES:
        return f"must be at most {NAME_BYTES} bytes long"
    return None


def folder_of(config: RunConfig) -> RunFolder:
    """The run's folder, which need not exist."""
    return RunFolder(Path(config.output_dir) / config.name)
