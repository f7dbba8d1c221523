"""Metrics of one picture: PSNR and SSIM of photographs as in papers, or of multi-band pictures by band and by spectrum;
others beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainer.images.levels import unit
from trainer.validation.measures import Measured
from trainer.validation.multiband import band_psnr, band_ssim, ergas, sam_degrees
from trainer.validation.psnr_ssim import psnr, ssim


@dataclass(frozen=True, slots=True)
class PhotoMetrics:
    """PSNR and SSIM of 8-bit pictures: see `trainer.validation.psnr_ssim`."""

    crop_border: int
    channel: Literal["rgb", "y"]
    summary: tuple[str, ...] = ("psnr", "ssim")
    """Those of the two that are wanted; they are also computed for bicubic upsampling."""

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics."""
        return self.summary

    def __call__(self, result: Tensor, gt: Tensor) -> list[float]:
        """The metrics of `result`, uint8 [3, H, W], in the order of their names."""
        border = self.crop_border, self.channel
        measures = {"psnr": psnr, "ssim": ssim}
        return [measures[name](result, gt, *border) for name in self.summary]


@dataclass(frozen=True, slots=True)
class MultibandMetrics:
    """Of multi-band pictures: PSNR in dB and SSIM, both the mean over the bands and of each band, numbered from 1; the
    spectral angle in degrees; ERGAS. See `trainer.validation.multiband`."""

    crop_border: int
    scale: int
    bands: int

    @property
    def summary(self) -> tuple[str, ...]:
        """The metrics that are also computed for bicubic upsampling; one band has no spectrum."""
        return ("psnr", "ssim", "ergas", *(("sam",) if self.bands > 1 else ()))

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics, the summary first."""
        each = tuple(f"{name}_band{number}" for name in ("psnr", "ssim") for number in range(1, self.bands + 1))
        return self.summary + each

    def __call__(self, result: Tensor, gt: Tensor) -> list[float]:
        """The metrics of `result`, uint16 [C, H, W], in the order of their names."""
        shown, wanted = (unit(_inside(picture, self.crop_border)) for picture in (result, gt))
        psnrs, ssims = band_psnr(shown, wanted), band_ssim(shown, wanted)
        angle = [sam_degrees(shown, wanted)] if self.bands > 1 else []
        means = [float(psnrs.mean()), float(ssims.mean()), ergas(shown, wanted, self.scale), *angle]
        return means + psnrs.tolist() + ssims.tolist()


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics of a validation."""

    fidelity: PhotoMetrics | MultibandMetrics | None
    """PSNR and SSIM; None where neither is wanted."""
    others: tuple[Measured, ...] = ()
    crop_border: int = 0

    @property
    def names(self) -> list[str]:
        """The metrics of a picture, then those of bicubic upsampling."""
        fidelity = self.fidelity
        others = [name for metric in self.others for name in metric.names]
        summary = [*(fidelity.summary if fidelity else ()), *others]
        return [*(fidelity.names if fidelity else ()), *others, *(f"{name}_bicubic" for name in summary)]

    @torch.no_grad()
    def __call__(self, result: Tensor, plain: Tensor, gt: Tensor | None) -> list[float]:
        """The metrics of a picture and of bicubic upsampling, [C, H, W] of the stored type, in the order of `names`.

        Those that compare with ground truth are NaN without it. The two pictures are one batch, whose length does not
        depend on the number of ranks: neither do the values.
        """
        fidelity, row, below = self.fidelity, list[float](), list[float]()
        if fidelity:
            both = [fidelity(picture, gt) for picture in (result, plain)] if gt is not None else None
            row += both[0] if both else [math.nan] * len(fidelity.names)
            below += both[1][: len(fidelity.summary)] if both else [math.nan] * len(fidelity.summary)
        pair = _inside(torch.stack([result, plain]), self.crop_border)
        truth = None if gt is None else _inside(torch.stack([gt, gt]), self.crop_border)
        for metric in self.others:
            if truth is None and metric.needs_gt:
                row, below = [*row, *_nan(metric.names)], [*below, *_nan(metric.names)]
                continue
            of_result, of_plain = metric(pair, truth).tolist()
            row, below = row + of_result, below + of_plain
        return row + below


def _inside(pictures: Tensor, border: int) -> Tensor:
    """[..., H, W] without its border."""
    height, width = pictures.shape[-2:]
    return pictures[..., border : height - border, border : width - border]


def _nan(names: Sequence[str]) -> list[float]:
    return [math.nan] * len(names)
