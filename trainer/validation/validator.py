"""Validation: the smoothed generator on pictures and degradations that never change, divided among the ranks."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from degradations.keyed_random import Keys
from trainer.distributed.ranks import tensors_on_main
from trainer.images.identity import sha256_of
from trainer.images.levels import quantised, unit
from trainer.images.validation import ValidationImages
from trainer.mistakes import Failure, agreed
from trainer.networks.layers.noise import noise_inputs
from trainer.pairs.synthesis import Synthesis
from trainer.telemetry.quality import SCORE, score
from trainer.validation.config import ValidationConfig
from trainer.validation.drawing import Shown, strip_of, views_from
from trainer.validation.metrics import Metrics
from trainer.validation.psnr_ssim import band_shift
from trainer.validation.sample_sheet import sheet
from trainer.validation.views import Views

SaveResult = Callable[[str, Tensor], None]
"""Called with the name of a file, a relative path without an ending, and a result, uint8 [3, H, W] on the CPU."""
SaveViews = Callable[[Views], None]
"""Called with the views of a picture that is in the sheet, on the rank that made them."""
BandShifts = tuple[int, list[float], list[float] | None]
"""A picture's number, and the shift of each band from the LQ: of its result, and of its ground truth if there is
one."""


@dataclass(frozen=True, slots=True)
class Validated:
    """One validation: mean metrics, and on rank 0 the sheet uint8 [3, H, W] (None if no strips are wanted)."""

    metrics: dict[str, float]
    sheet: Tensor | None
    strips: dict[str, Tensor] = field(default_factory=dict)
    """The parts of the sheet, uint8 [3, h, w], by the name of their picture; on rank 0."""
    drawing_errors: list[str] = field(default_factory=list)
    """Reasons why strips of it are missing."""
    notes: list[str] = field(default_factory=list)
    """Sentences on metrics that some pictures do not have."""


@dataclass(frozen=True, slots=True)
class Validator:
    """Measures a generator. Calls are collective: every rank takes its share of the pictures."""

    accelerator: Accelerator
    images: ValidationImages
    synthesis: Synthesis
    config: ValidationConfig
    measure: Metrics
    """The metrics of each picture, with their networks on the device."""

    def fingerprint(self, figure: str) -> str:
        """A checksum of all that a figure depends on but the generator: pictures, degradations, how it is measured."""
        config, synthesis = self.config, self.synthesis
        parts: list[object] = [self.images.content, synthesis.scale, config.border(synthesis.scale), config.channel]
        parts += [config.source.radiometry, figure]
        if not self.images.paired:
            parts += [config.seed, config.draws, synthesis.degradation, synthesis.gt_usm, synthesis.degrade_gt_usm]
        weights = config.weights if figure == SCORE else {figure: 1.0}
        known = {name: metric.identity for metric in self.measure.others for name in metric.names}
        if figure == SCORE or known.get(figure):
            parts += [(name, weight, known.get(name, "")) for name, weight in sorted(weights.items())]
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
        """Mean metrics of `generator`, and of bicubic upsampling; the same for any number of ranks.

        `pairs` measures the first few only, for a trial. `save_result` is called with each result of this rank, if
        `save_images` is on, `save_views` for each picture of this rank that is in the sheet. Raises Failure, on every
        rank, where a metric of another package fails.
        """
        count = len(self) if pairs is None else min(pairs, len(self))
        names = self.measure.names
        files = self.images.result_names() if save_result and self.config.save_images else []
        table = torch.zeros(count, len(names), dtype=torch.float64, device=self.accelerator.device)
        strips: list[tuple[int, Tensor]] = []
        shifts: list[BandShifts] = []
        drawing_errors: list[str] = []
        failures: list[str] = []
        for number in range(self.accelerator.process_index, count, self.accelerator.num_processes):
            lq, gt, caption = self._pair(number)
            result, plain = self._upscaled(generator, lq, number), bicubic(lq, self.synthesis.scale)
            row = self._measured(result, plain, gt, failures)
            table[number] = torch.tensor(row, dtype=torch.float64)
            shifts.append((number, band_shift(result, lq), None if gt is None else band_shift(gt, lq)))
            if files and save_result:
                draw, index = divmod(number, len(self.images))
                save_result(f"{files[index]}-draw{draw}" if self.draws > 1 else files[index], result.cpu())
            if number < self.config.num_samples:
                values = {name: value for name, value in zip(names, row, strict=True) if not math.isnan(value)}
                shown = Shown(number, self._title(number), caption, lq, plain, result, gt, values)
                try:
                    strips.append((number, strip_of(shown, step, self.config.composites)))
                    if save_views:
                        for views in views_from(shown, self.synthesis.scale, self.config.composites):
                            save_views(views)
                except Exception as error:  # a failed drawing must not leave the other ranks waiting
                    drawing_errors.append(f"{type(error).__name__}: {error}")
        if failed := sorted(set(gather_object(failures))):
            raise agreed(Failure(failed[0]))
        if names:
            table = self.accelerator.reduce(table)  # every row was filled by one rank
        figures, notes = means_of(table, names)
        figures |= colour_drift(sorted(gather_object(shifts)))
        figures |= self._scores(figures)
        everyone = tensors_on_main(self.accelerator, strips)
        errors = sorted(set(gather_object(drawing_errors)))
        if not everyone:
            return Validated(figures, None, drawing_errors=errors, notes=notes)
        parts = {self._title(number): picture for number, picture in everyone}
        return Validated(figures, sheet(list(parts.values())), parts, errors, notes)

    def _measured(self, result: Tensor, plain: Tensor, gt: Tensor | None, failures: list[str]) -> list[float]:
        """The metrics of a picture; where a metric fails the reason is added, for all ranks to hear of together."""
        try:
            return self.measure(result, plain, gt)
        except Failure as failure:
            failures.append(str(failure))
            return [math.nan] * len(self.measure.names)

    def _scores(self, figures: dict[str, float]) -> dict[str, float]:
        """The weighted sum of `best_metric`, if it is one."""
        if not (weights := self.config.weights):
            return {}
        values = {name.removeprefix("validation/"): value for name, value in figures.items()}
        return {f"validation/{SCORE}": score(weights, values, self.config.figures)}

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

    def _title(self, number: int) -> str:
        """The name of a sheet's picture, and which draw or which picture of this name it is where there are several."""
        count = len(self.images)
        names = [self.images.name(index) for index in range(min(count, self.config.num_samples))]
        draw, index = divmod(number, count)
        times = names[:index].count(names[index]) + 1
        parts = [names[index], f"({times})" if times > 1 else "", f"draw {draw + 1}" if draw else ""]
        return " ".join(filter(None, parts))


def means_of(table: Tensor, names: list[str]) -> tuple[dict[str, float], list[str]]:
    """The mean of each column, float64 [pictures, names], over the pictures that have the figure; and a sentence for
    each figure, bicubic's apart, that some have not."""
    figures = dict(zip((f"validation/{name}" for name in names), table.nanmean(0).tolist(), strict=True))
    lacking = table.isnan().sum(0).tolist()
    notes = [
        f"validation: {count} of {len(table)} pictures have no {name} and do not count in it{REASONS.get(name, '')}"
        for name, count in zip(names, lacking, strict=True)
        if count and not name.endswith(("_bicubic", "_x", "_y"))
    ]
    return figures, notes


REASONS = {"niqe": ": it needs two blocks of 96 x 96 inside the border that are not flat"}


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
