"""Metrics of one picture: PSNR and SSIM of photographs as in papers; multi-band pictures by band and by spectrum."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from trainer.images.levels import unit
from trainer.validation.multiband import band_psnr, band_ssim, ergas, sam_degrees
from trainer.validation.psnr_ssim import psnr, ssim


@dataclass(frozen=True, slots=True)
class PhotoMetrics:
    """PSNR and SSIM of 8-bit pictures: see `trainer.validation.psnr_ssim`."""

    crop_border: int
    channel: Literal["rgb", "y"]

    @property
    def summary(self) -> tuple[str, ...]:
        """The metrics that are also computed for bicubic upsampling."""
        return ("psnr", "ssim")

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics."""
        return self.summary

    def __call__(self, result: Tensor, gt: Tensor) -> list[float]:
        """The metrics of `result`, uint8 [3, H, W], in the order of their names."""
        border = self.crop_border, self.channel
        return [psnr(result, gt, *border), ssim(result, gt, *border)]


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
        height, width = (side - 2 * self.crop_border for side in gt.shape[1:])
        shown, wanted = (
            unit(picture).narrow(1, self.crop_border, height).narrow(2, self.crop_border, width)
            for picture in (result, gt)
        )
        psnrs, ssims = band_psnr(shown, wanted), band_ssim(shown, wanted)
        angle = [sam_degrees(shown, wanted)] if self.bands > 1 else []
        means = [float(psnrs.mean()), float(ssims.mean()), ergas(shown, wanted, self.scale), *angle]
        return means + psnrs.tolist() + ssims.tolist()


Metrics = PhotoMetrics | MultibandMetrics
