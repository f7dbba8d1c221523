"""The metrics of a validation, as `validation.metrics` lists them: by name, or with settings of their own."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from trainer.files.paths import PathText
from trainer.losses.backbones import ARCHITECTURES, Backbone, read_backbone
from trainer.losses.learned import DISTS, LPIPS
from trainer.losses.ms_ssim import WINDOW
from trainer.telemetry.quality import figure_name
from trainer.validation.measures import Displacement, LearnedMetric, Measured, ModuleMetric, NaturalQuality, Sharpness
from trainer.validation.module_metric import build_metric

NAME = re.compile(r"[a-z][a-z0-9_]*")
RESERVED = re.compile(r".*_(bicubic|gt|band\d+)|colour_drift.*|displacement.*|samples|score|lpips.*|dists.*|ergas|sam")


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """Base class of the metrics: needs, and building."""

    BARE: ClassVar[bool] = True
    """The name alone stands for the section with its defaults."""
    NEEDS_GT: ClassVar[bool] = True
    PHOTOGRAPHS: ClassVar[bool] = False
    """True if it takes photographs of 8 bits in three bands only."""
    FETCHES: ClassVar[bool] = False
    """True if it has weights to be found before the training."""

    @property
    def figure(self) -> str:
        """The name of its figure, behind `validation/`."""
        return figure_name(asdict(self))

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of its figures, that one first."""
        return (self.figure,)

    @property
    def needs_gt(self) -> bool:
        """True if it compares with ground truth."""
        return self.NEEDS_GT

    @property
    def least(self) -> int:
        """The least side of a picture, inside the border, that it takes."""
        return 1

    def fetch(self, key: str) -> None:
        """Find its weights, downloading them if necessary; Mistake, naming keys under `key`."""

    def build(self, key: str) -> Measured | None:  # noqa: ARG002 - one signature for all metrics
        """The measure, on the CPU; None for PSNR and SSIM, which are measured together. Mistake as `fetch`."""
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class PSNRMetric(Metric):
    """Peak signal to noise ratio in dB, as in BasicSR and MATLAB; of multi-band pictures also by band."""

    type: Literal["psnr"] = "psnr"


@dataclass(frozen=True, kw_only=True, slots=True)
class SSIMMetric(Metric):
    """Structural similarity (Wang et al. 2004), as in BasicSR and MATLAB; of multi-band pictures also by band."""

    type: Literal["ssim"] = "ssim"

    @property
    def least(self) -> int:
        """The window's side."""
        return WINDOW


@dataclass(frozen=True, kw_only=True, slots=True)
class LPIPSMetric(Metric):
    """LPIPS 0.1 (Zhang et al. 2018) of the 8-bit results in RGB, as in the package `lpips`: less is better."""

    PHOTOGRAPHS: ClassVar[bool] = True
    FETCHES: ClassVar[bool] = True

    type: Literal["lpips"] = "lpips"
    net: Backbone = "alex"
    """The network whose features are compared: alex is reported as `lpips`, others as `lpips_vgg`, `lpips_squeeze`."""
    weights: PathText | None = None
    """Its weights under torchvision's names, a file or a hub id; null is torchvision's own file, as is one of that
    name, which is verified. Of other weights the figure's name ends with `_custom`."""

    @property
    def least(self) -> int:
        """What the network takes."""
        return ARCHITECTURES[self.net].least

    def fetch(self, key: str) -> None:
        """Find its weights."""
        read_backbone(self.net, self.weights, key, download=True)

    def build(self, key: str) -> Measured:
        """The measure."""
        return LearnedMetric(self.figure, LPIPS(self.net, read_backbone(self.net, self.weights, key, download=False)))


@dataclass(frozen=True, kw_only=True, slots=True)
class DISTSMetric(Metric):
    """DISTS (Ding et al. 2020) of the 8-bit results in RGB, as in `DISTS-pytorch`: less is better."""

    PHOTOGRAPHS: ClassVar[bool] = True
    FETCHES: ClassVar[bool] = True

    type: Literal["dists"] = "dists"
    weights: PathText | None = None
    """VGG16's weights, as of `lpips`; of other weights than torchvision's file the figure is `dists_custom`."""

    @property
    def least(self) -> int:
        """What the network takes."""
        return ARCHITECTURES["vgg"].least

    def fetch(self, key: str) -> None:
        """Find its weights."""
        read_backbone("vgg", self.weights, key, download=True)

    def build(self, key: str) -> Measured:
        """The measure."""
        return LearnedMetric(self.figure, DISTS(read_backbone("vgg", self.weights, key, download=False)))


@dataclass(frozen=True, kw_only=True, slots=True)
class NIQEMetric(Metric):
    """NIQE (Mittal et al. 2013), without ground truth, as in BasicSR and MATLAB: less is better. Results with fewer
    than two blocks of 96 x 96 inside the border have none and are left out of the mean."""

    NEEDS_GT: ClassVar[bool] = False
    PHOTOGRAPHS: ClassVar[bool] = True

    type: Literal["niqe"] = "niqe"

    def build(self, key: str) -> Measured:  # noqa: ARG002
        """The measure."""
        return NaturalQuality()


@dataclass(frozen=True, kw_only=True, slots=True)
class DisplacementMetric(Metric):
    """Displacement against the ground truth in hundredths of a pixel, and with its sign to the right (`_x`) and down
    (`_y`)."""

    type: Literal["displacement"] = "displacement"

    @property
    def figures(self) -> tuple[str, ...]:
        """Its length, and its parts."""
        return Displacement.names

    @property
    def least(self) -> int:
        """A correlation needs a few pixels; below some 128 it tells little."""
        return 16

    def build(self, key: str) -> Measured:  # noqa: ARG002
        """The measure."""
        return Displacement()


@dataclass(frozen=True, kw_only=True, slots=True)
class SharpnessMetric(Metric):
    """Mean step between neighbouring pixels over that of the ground truth: 1 is as sharp, less is blurred."""

    type: Literal["sharpness"] = "sharpness"

    def build(self, key: str) -> Measured:  # noqa: ARG002
        """The measure."""
        return Sharpness()


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleMetricConfig(Metric):
    """A metric of any installed package. It is called with a picture at a time, float [1, C, H, W] in [0, 1], and with
    its ground truth if it needs that, and gives one value."""

    BARE: ClassVar[bool] = False
    FETCHES: ClassVar[bool] = True

    type: Literal["module"] = "module"
    path: str
    """The class, or a function that makes it, as package.module.Class."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments to make it with."""
    name: str
    """The name of its figure, behind `validation/`: small letters, digits and underlines."""
    lower_is_better: bool
    """true: less is better; false: more is."""
    with_gt: bool = True
    """true: it is called with results and ground truth; false: with results alone."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or RESERVED.fullmatch(self.name):
            raise ValueError(
                f"name: got {self.name!r}; must be small letters, digits and _, and no other figure's name"
            )

    @property
    def needs_gt(self) -> bool:
        """True if it compares with ground truth."""
        return self.with_gt

    def fetch(self, key: str) -> None:
        """Make it once: what it downloads is then there."""
        self.build(key)

    def build(self, key: str) -> Measured:
        """The measure."""
        made = build_metric(self.path, self.arguments, key)
        return ModuleMetric(self.name, made, self.with_gt, f"{self.path} {sorted(self.arguments.items())!r}", key)


MetricConfig = (
    PSNRMetric
    | SSIMMetric
    | LPIPSMetric
    | DISTSMetric
    | NIQEMetric
    | DisplacementMetric
    | SharpnessMetric
    | ModuleMetricConfig
)
