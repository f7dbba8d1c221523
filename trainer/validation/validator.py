"""Validation: the smoothed generator on pictures and degradations that never change, divided among the ranks."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from degradations.keyed_random import Keys
from trainer.images.identity import sha256_of
from trainer.images.levels import quantised, unit
from trainer.images.radiometry import Radiometry
from trainer.images.validation import LowQuality, ValidationImages, ValidationSource
from trainer.networks.layers.noise import noise_inputs
from trainer.pairs.synthesis import Synthesis
from trainer.validation.metrics import Metrics, MultibandMetrics, PhotoMetrics
from trainer.validation.psnr_ssim import band_shift
from trainer.validation.sample_sheet import Bands, Column, composite, sheet, strip
from trainer.validation.views import Views, views_of

SaveResult = Callable[[str, Tensor], None]
"""Called with the name of a file, a relative path without an ending, and a result, uint8 [3, H, W] on the CPU."""
SaveViews = Callable[[Views], None]
"""Called with the views of a picture that is in the sheet, on the rank that made them."""
BandShifts = tuple[int, list[float], list[float] | None]
"""A picture's number, and the shift of each band from the LQ: of its result, and of its ground truth if there is
one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationConfig:
    """Validation of the smoothed generator: its pictures, degradations and metrics."""

    source: ValidationSource
    """Pairs as they are, clean pictures that are degraded with keyed draws, the same in every validation, or
    low-quality pictures alone (`type: lq`), of which the results are shown and nothing is measured."""
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
    """Pixels left out at each side before measuring; null is the scale."""
    channel: Literal["rgb", "y"] | None = None
    """Measure photographs on the luma of BT.601, as papers do and null does, or on RGB; multi-band pictures are
    measured by band."""
    composites: dict[str, tuple[int, int, int]] | None = None
    """RGB composites of multi-band pictures in strips: under each name, the numbers (from 0, of the bands as read) of
    those shown as red, green and blue, as in `{true colour: [2, 1, 0], false colour: [3, 2, 1]}`."""
    best_metric: Literal["psnr", "ssim"] | None = None
    """The metric by which the best checkpoint is chosen; null is psnr, or none if there is no ground truth."""
    num_samples: int = 4
    """Pictures in the sample sheet, in TensorBoard, and on the page of `python -m trainer.report`."""
    save_images: bool = False
    """Also save every result, whole, as samples/step-*/NAME.png (upstream's `save_img`)."""

    @property
    def has_gt(self) -> bool:
        """True if there is ground truth."""
        return not isinstance(self.source, LowQuality)

    @property
    def best_by(self) -> Literal["psnr", "ssim"] | None:
        """The metric by which the best checkpoint is chosen; None if nothing is measured."""
        return (self.best_metric or "psnr") if self.has_gt else None

    def border(self, scale: int) -> int:
        """Pixels left out at each side."""
        return scale if self.crop_border is None else self.crop_border

    def metrics_for(self, scale: int) -> Metrics:
        """The metrics of each picture."""
        if (radiometry := self.source.radiometry) is None:
            return PhotoMetrics(self.border(scale), self.channel or "y")
        return MultibandMetrics(self.border(scale), scale, len(radiometry.bands))

    def metric_names(self, scale: int) -> list[str]:
        """The names under which a validation reports."""
        measure, radiometry = self.metrics_for(scale), self.source.radiometry
        bands = len(radiometry.bands) if radiometry else 3
        drift = ["", *(["_gt"] if self.has_gt else []), *(f"_band{number}" for number in range(1, bands + 1))]
        measured = column_names(measure) if self.has_gt else []
        return [f"validation/{name}" for name in [*measured, *(f"colour_drift{which}" for which in drift)]]

    def problems(self, radiometry: Radiometry | None) -> Iterator[str]:
        """Conflicts with a run on pictures of this radiometry, a sentence each, beginning with the key."""
        if self.source.radiometry != radiometry:
            yield "source: its radiometry must be that of the pictures that are trained on"
        if self.best_metric and not self.has_gt:
            yield f"best_metric: got {self.best_metric!r}; must be null without ground truth: nothing is measured"
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

    def __post_init__(self) -> None:
        for name in ("validation_steps", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, least in (("num_samples", 0), ("max_side", 1), ("crop_border", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True, slots=True)
class Validated:
    """One validation: mean metrics, and on rank 0 the sheet uint8 [3, H, W] (None if no strips are wanted)."""

    metrics: dict[str, float]
    sheet: Tensor | None
    strips: dict[str, Tensor] = field(default_factory=dict)
    """The parts of the sheet, uint8 [3, h, w], by the name of their picture; on rank 0."""
    drawing_errors: list[str] = field(default_factory=list)
    """Reasons why strips of it are missing."""


@dataclass(frozen=True, slots=True)
class Validator:
    """Measures a generator. Calls are collective: every rank takes its share of the pictures."""

    accelerator: Accelerator
    images: ValidationImages
    synthesis: Synthesis
    config: ValidationConfig

    @property
    def measure(self) -> Metrics:
        """The metrics of each picture."""
        return self.config.metrics_for(self.synthesis.scale)

    @property
    def fingerprint(self) -> str:
        """A checksum of all that metrics depend on except the generator: the content of pictures and degradations."""
        config, synthesis = self.config, self.synthesis
        parts: list[object] = [self.images.content, synthesis.scale, config.border(synthesis.scale), config.channel]
        parts += [config.source.radiometry, config.best_by]
        if not self.images.paired:
            parts += [config.seed, config.draws, synthesis.degradation, synthesis.gt_usm, synthesis.degrade_gt_usm]
        return sha256_of(parts)[:16]

    def __len__(self) -> int:
        """Pictures times draws."""
        return len(self.images) * self.draws

    @property
    def draws(self) -> int:
        """Pairs per picture; 1 for given pairs, which are not degraded."""
        return 1 if self.images.paired else self.config.draws

    @torch.no_grad()
    def __call__(
        self,
        generator: nn.Module,
        step: int,
        pairs: int | None = None,
        save_result: SaveResult | None = None,
        save_views: SaveViews | None = None,
    ) -> Validated:
        """Mean PSNR and SSIM of `generator`, and of bicubic upsampling; the same for any number of ranks.

        `pairs` measures the first few only, for a trial. `save_result` is called with each result of this rank, if
        `save_images` is on, `save_views` for each picture of this rank that is in the sheet.
        """
        count = len(self) if pairs is None else min(pairs, len(self))
        measure = self.measure
        names = column_names(measure) if self.config.has_gt else []
        files = self.images.result_names() if save_result and self.config.save_images else []
        table = torch.zeros(count, len(names), dtype=torch.float64, device=self.accelerator.device)
        strips: list[tuple[int, Tensor]] = []
        shifts: list[BandShifts] = []
        drawing_errors: list[str] = []
        for number in range(self.accelerator.process_index, count, self.accelerator.num_processes):
            lq, gt, caption = self._pair(number)
            result, plain = self._upscaled(generator, lq, number), bicubic(lq, self.synthesis.scale)
            row = [*measure(result, gt), *measure(plain, gt)[: len(measure.summary)]] if gt is not None else []
            table[number] = torch.tensor(row, dtype=torch.float64)
            shifts.append((number, band_shift(result, lq), None if gt is None else band_shift(gt, lq)))
            if files and save_result:
                draw, index = divmod(number, len(self.images))
                save_result(f"{files[index]}-draw{draw}" if self.draws > 1 else files[index], result.cpu())
            if number < self.config.num_samples:
                values = dict(zip(names, row, strict=True))
                try:
                    strips.append((number, self._strip(number, step, values, caption, (plain, result, gt))))
                    if save_views:
                        for views in self._views(number, values, caption, (lq, plain, result, gt)):
                            save_views(views)
                except Exception as error:  # a failed drawing must not leave the other ranks waiting
                    drawing_errors.append(f"{type(error).__name__}: {error}")
        if names:
            table = self.accelerator.reduce(table)  # every row was filled by one rank
        figures = dict(zip((f"validation/{name}" for name in names), table.mean(0).tolist(), strict=True))
        figures |= colour_drift(sorted(gather_object(shifts)))
        everyone: list[tuple[int, Tensor]] = gather_object(strips)
        errors = sorted(set(gather_object(drawing_errors)))
        if not everyone or not self.accelerator.is_main_process:
            return Validated(figures, None, drawing_errors=errors)
        parts = {self._title(number): picture for number, picture in sorted(everyone, key=lambda item: item[0])}
        return Validated(figures, sheet(list(parts.values())), parts, errors)

    def _pair(self, number: int) -> tuple[Tensor, Tensor | None, str]:
        """LQ and GT uint8 on the device, and the degradation's caption; the first draw of every picture comes first."""
        pair, device = self.images[number % len(self.images)], self.accelerator.device
        gt = None if pair.gt is None else pair.gt.to(device)
        if pair.lq is not None:
            return pair.lq.to(device), gt, ""
        assert gt is not None, "a picture to validate on is poor, good, or both"
        lq, recipe = self.synthesis.degrade(gt, self.config.seed, number)
        return lq, gt, recipe.caption(0)

    def _upscaled(self, generator: nn.Module, lq: Tensor, number: int) -> Tensor:
        noise = noise_inputs(generator, Keys(self.config.seed, torch.tensor([number])))
        with self.accelerator.autocast():
            return quantised(generator(unit(lq[None]), *noise)[0].float(), lq.dtype)

    def _strip(
        self, number: int, step: int, values: Mapping[str, float], caption: str, shown: tuple[Tensor | None, ...]
    ) -> Tensor:
        """Bicubic, result and any ground truth: a strip, or one for each composite of multi-band pictures."""
        pictures = [picture for picture in shown if picture is not None]
        captions = _figure_caption("bicubic", values, "_bicubic"), _figure_caption(f"step {step}", values, "")
        texts = [*captions, "ground truth"][: len(pictures)]
        title = self._title(number)
        if pictures[0].dtype == torch.uint8:
            return strip([Column(text, part.cpu()) for text, part in zip(texts, pictures, strict=True)], title, caption)
        rows = []
        for name, bands in self._composites.items():
            parts = composite([picture.cpu() for picture in pictures], bands, reference=-1 if self.config.has_gt else 0)
            columns = [Column(text, part) for text, part in zip(texts, parts, strict=True)]
            rows.append(strip(columns, f"{title} · {name}" if name else title, caption))
        return sheet(rows)

    def _views(
        self, number: int, values: Mapping[str, float], caption: str, shown: tuple[Tensor | None, ...]
    ) -> Iterator[Views]:
        """The views of a picture, or of each composite of a multi-band one."""
        pictures = {
            name: part for name, part in zip(("lq", "bicubic", "result", "gt"), shown, strict=True) if part is not None
        }
        composites = None if pictures["lq"].dtype == torch.uint8 else self._composites
        title = self._title(number)
        for order, (name, parts) in enumerate(views_of(pictures, self.synthesis.scale, composites)):
            yield Views(f"{number:02d}-{order}", f"{title} · {name}" if name else title, caption, values, parts)

    @property
    def _composites(self) -> Mapping[str, Bands]:
        """How multi-band pictures are shown, by name."""
        whole: dict[str, Bands] = {"": None}
        return self.config.composites or whole

    def _title(self, number: int) -> str:
        """The name of a sheet's picture, and which draw or which picture of this name it is where there are several."""
        count = len(self.images)
        names = [self.images.name(index) for index in range(min(count, self.config.num_samples))]
        draw, index = divmod(number, count)
        times = names[:index].count(names[index]) + 1
        parts = [names[index], f"({times})" if times > 1 else "", f"draw {draw + 1}" if draw else ""]
        return " ".join(filter(None, parts))


def column_names(measure: Metrics) -> list[str]:
    """Names of the metrics of a picture, then of those of bicubic upsampling."""
    return [*measure.names, *(f"{name}_bicubic" for name in measure.summary)]


def _figure_caption(what: str, figures: Mapping[str, float], ending: str) -> str:
    """The caption over a picture: "step 600 · PSNR 27.31 dB · SSIM 0.8012"."""
    parts = {"psnr": "PSNR {:.2f} dB", "ssim": "SSIM {:.4f}", "sam": "SAM {:.2f}°", "ergas": "ERGAS {:.2f}"}
    values = [text.format(figures[name + ending]) for name, text in parts.items() if name + ending in figures]
    return " · ".join([what, *values])


def colour_drift(shifts: list[BandShifts]) -> dict[str, float]:
    """Difference of colour between results and their inputs, and between ground truth and inputs (clipped noise causes
    it).

    The one number is the root mean square over the bands, averaged over the pictures; bands (from 1) keep their sign.
    """
    parts = [[part for part in (result, gt) if part is not None] for _, result, gt in shifts]
    sizes = torch.tensor(parts, dtype=torch.float64)  # [pictures, 2, bands], or [pictures, 1, bands] without truth
    means = sizes.square().mean(2).sqrt().mean(0).tolist()
    bands = {f"validation/colour_drift_band{n}": value for n, value in enumerate(sizes[:, 0].mean(0).tolist(), 1)}
    return {**dict(zip(("validation/colour_drift", "validation/colour_drift_gt"), means, strict=False)), **bands}


def bicubic(lq: Tensor, scale: int) -> Tensor:
    """Bicubic baseline: `lq` [C, h, w] upscaled by torch's bicubic, [C, scale*h, scale*w] of its type."""
    return quantised(F.interpolate(unit(lq[None]), scale_factor=scale, mode="bicubic")[0], lq.dtype)


def better(value: float, than: float) -> bool:
    """True if a metric is better than the best so far; both are better when higher, and NaN never is."""
    return not math.isnan(value) and value > than
