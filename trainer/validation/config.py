"""The configuration of a validation: its pictures, degradations, metrics, and the choice of the best."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from trainer.images.radiometry import Radiometry
from trainer.images.validation import LowQuality, ValidationSource
from trainer.losses.ms_ssim import WINDOW
from trainer.telemetry.quality import COLOURS, SCORE, Figure, best_metric, figures_of
from trainer.validation.measures import Measured
from trainer.validation.metric_configs import MetricConfig, PSNRMetric, SSIMMetric
from trainer.validation.metrics import Metrics, MultibandMetrics, PhotoMetrics


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationConfig:
    """Validation of the smoothed generator: its pictures, degradations and metrics."""

    source: ValidationSource
    """Pairs as they are, clean pictures that are degraded with keyed draws, the same in every validation, or
    low-quality pictures alone (`type: lq`), of which the results are shown and only NIQE can be measured."""
    validation_steps: int = 5000
    """Optimizer steps between validations; the last step is always validated."""
    seed: int = 0
    """The key of the degradations, apart from the run's seed so that they are the same for all runs."""
    draws: int = 1
    """Number of degradations of each clean picture."""
    max_side: int | None = None
    """Cut from the middle of each picture a piece of at most this side (of low-quality pictures alone: as large as
    comes to this side of the result); null takes it whole. Given pairs are taken whole."""
    crop_border: int | None = None
    """Pixels left out at each side before measuring, by all metrics; null is the scale."""
    channel: Literal["rgb", "y"] | None = None
    """Measure PSNR and SSIM of photographs on the luma of BT.601, as papers do and null does, or on RGB; multi-band
    pictures are measured by band."""
    composites: dict[str, tuple[int, int, int]] | None = None
    """RGB composites of multi-band pictures in strips: under each name, the numbers (from 0, of the bands as read) of
    those shown as red, green and blue, as in `{true colour: [2, 1, 0], false colour: [3, 2, 1]}`."""
    metrics: tuple[MetricConfig, ...] | None = None
    """What is measured, by name or with settings, as in `[psnr, ssim, {type: lpips, net: vgg}, dists, niqe]`; null is
    psnr and ssim, or nothing without ground truth. Multi-band pictures always have PSNR, SSIM, ERGAS and the spectral
    angle. All have bicubic upsampling's value beside them, as `..._bicubic`."""
    best_metric: str | dict[str, float] | None = None
    """The figure by which the best checkpoint is chosen, such as lpips, or the positive weights of several, as in
    `{lpips: 1, dists: 1, niqe: 0.1}`, whose sum is reported as `score`: more is better, and figures of which less is
    better count against it. null is psnr, and in adversarial training the first there is of LPIPS, DISTS and NIQE."""
    num_samples: int = 4
    """Pictures in the sample sheet, in TensorBoard, and on the page of `python -m trainer.report`."""
    save_images: bool = False
    """Also save every result, whole, as samples/step-*/NAME.png (upstream's `save_img`)."""

    @property
    def has_gt(self) -> bool:
        """True if there is ground truth."""
        return not isinstance(self.source, LowQuality)

    @property
    def chosen(self) -> tuple[MetricConfig, ...]:
        """The metrics, those of null included."""
        if self.metrics is not None:
            return self.metrics
        return (PSNRMetric(), SSIMMetric()) if self.has_gt else ()

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures by which the best can be chosen, by name."""
        return figures_of(asdict(self))

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the figures in the score, empty without one."""
        return self.best_metric if isinstance(self.best_metric, dict) else {}

    def best_by(self, adversarial: bool = False) -> str | None:
        """The figure by which the best checkpoint is chosen, at a step of adversarial training or at another; None if
        nothing is measured by it."""
        return best_metric(asdict(self), adversarial)

    def border(self, scale: int) -> int:
        """Pixels left out at each side."""
        return scale if self.crop_border is None else self.crop_border

    def least_side(self, scale: int) -> int:
        """The least side of ground truth that can be measured."""
        least = WINDOW if self.source.radiometry else 1
        return max([least, *(metric.least for metric in self.chosen)]) + 2 * self.border(scale)

    def metrics_for(self, scale: int, others: tuple[Measured, ...] = ()) -> Metrics:
        """The metrics of each picture, with `others` beside PSNR and SSIM."""
        border, wanted = self.border(scale), tuple(m.figure for m in self.chosen if m.figure in ("psnr", "ssim"))
        fidelity: PhotoMetrics | MultibandMetrics | None = None
        if self.has_gt and (radiometry := self.source.radiometry):
            fidelity = MultibandMetrics(border, scale, len(radiometry.bands))
        elif self.has_gt and wanted:
            fidelity = PhotoMetrics(border, self.channel or "y", wanted)
        return Metrics(fidelity, others, border)

    def metric_names(self, scale: int) -> list[str]:
        """The names under which a validation reports."""
        radiometry = self.source.radiometry
        bands = len(radiometry.bands) if radiometry else 3
        names, plain = self.metrics_for(scale).names, list[str]()
        own = [name for name in names if not name.endswith("_bicubic")]
        for metric in self.chosen:
            if metric.figure not in own:
                plain += metric.figures
        names = [*own, *plain, *names[len(own) :], *(f"{name}_bicubic" for name in plain)]
        drift = ["", *(["_gt"] if self.has_gt else []), *(f"_band{number}" for number in range(1, bands + 1))]
        names += [*(f"colour_drift{which}" for which in drift), *([SCORE] if self.weights else [])]
        return [f"validation/{name}" for name in names]

    def problems(self, radiometry: Radiometry | None) -> Iterator[str]:
        """Conflicts with a run on pictures of this radiometry, a sentence each, beginning with the key."""
        if self.source.radiometry != radiometry:
            yield "source: its radiometry must be that of the pictures that are trained on"
        yield from self._problems_of_metrics(radiometry)
        if self.save_images and radiometry:
            yield "save_images: must be false for multi-band pictures, which `python -m trainer.upscale` writes"
        if radiometry is None:
            if self.composites is not None:
                yield "composites: must be null for photographs, which are shown as they are"
            return
        bands = len(radiometry.bands)
        if self.channel is not None:
            yield f"channel: got {self.channel!r}; must be null for multi-band pictures, which are measured by band"
        if not self.composites and bands not in (1, 3):
            yield f"composites: must say which of the {bands} bands to show as red, green and blue"
        for name, chosen in (self.composites or {}).items():
            if min(chosen) < 0 or max(chosen) >= bands:
                yield f"composites.{name}: got {list(chosen)}; {bands} bands are numbered 0 to {bands - 1}"

    def _problems_of_metrics(self, radiometry: Radiometry | None) -> Iterator[str]:
        """Metrics that these pictures do not allow, and figures that are chosen by and not measured."""
        names = [metric.figure for metric in self.chosen]
        for number, metric in enumerate(self.chosen):
            if metric.needs_gt and not self.has_gt:
                yield f"metrics.{number}: got {metric.type}, which needs ground truth; without it there is niqe"
            if metric.PHOTOGRAPHS and radiometry:
                yield f"metrics.{number}: got {metric.type}, which is of photographs and not of multi-band pictures"
            if metric.figure in names[:number]:
                yield f"metrics.{number}: got {metric.figure} a second time"
        if not self.best_metric:
            return
        known = {name: figure for name, figure in self.figures.items() if name not in (SCORE, *COLOURS)}
        if not known and not self.has_gt:
            yield f"best_metric: got {self.best_metric!r}; must be null without ground truth: nothing is measured"
            return
        for name in self.weights or [str(self.best_metric)]:
            if name not in (every := self.figures) or name == SCORE:
                there = ", ".join(other for other in every if other != SCORE)
                yield f"best_metric: got {name}; validation.metrics measures {there}"

    def __post_init__(self) -> None:
        for name in ("validation_steps", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, least in (("num_samples", 0), ("max_side", 1), ("crop_border", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if isinstance(self.best_metric, dict) and not all(
            weight > 0 and math.isfinite(weight) for weight in self.best_metric.values() or [0]
        ):
            raise ValueError(f"best_metric: got {self.best_metric}; wanted a figure, or figures with positive weights")
