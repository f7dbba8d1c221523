"""Drawing of validation pictures: their strips in the sheet of samples, and their views."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.telemetry.quality import QUALITY
from trainer.validation.sample_sheet import Bands, Column, composite, sheet, strip
from trainer.validation.views import Views, views_of

WHOLE: Mapping[str, Bands] = {"": None}
"""The composite of multi-band pictures that names none."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One validation picture with its result, [C, H, W] each."""

    number: int
    title: str
    caption: str
    """The degradation in words."""
    lq: Tensor
    plain: Tensor
    """Bicubic upsampling."""
    result: Tensor
    gt: Tensor | None
    values: Mapping[str, float]
    """Its metrics by name, those of bicubic with the ending `_bicubic`."""


def strip_of(shown: Shown, step: int, composites: Mapping[str, Bands] | None) -> Tensor:
    """Bicubic, result and any ground truth: a strip, or one for each composite of multi-band pictures."""
    pictures = [picture for picture in (shown.plain, shown.result, shown.gt) if picture is not None]
    captions = figure_caption("bicubic", shown.values, "_bicubic"), figure_caption(f"step {step}", shown.values, "")
    texts = [*captions, "ground truth"][: len(pictures)]
    title, caption = shown.title, shown.caption
    if pictures[0].dtype == torch.uint8:
        return strip([Column(text, part.cpu()) for text, part in zip(texts, pictures, strict=True)], title, caption)
    rows = []
    for name, bands in (composites or WHOLE).items():
        parts = composite([picture.cpu() for picture in pictures], bands, reference=0 if shown.gt is None else -1)
        columns = [Column(text, part) for text, part in zip(texts, parts, strict=True)]
        rows.append(strip(columns, f"{title} · {name}" if name else title, caption))
    return sheet(rows)


def views_from(shown: Shown, scale: int, composites: Mapping[str, Bands] | None) -> Iterator[Views]:
    """The views of a picture, or of each composite of a multi-band one."""
    parts = {"lq": shown.lq, "bicubic": shown.plain, "result": shown.result, "gt": shown.gt}
    pictures = {name: part for name, part in parts.items() if part is not None}
    used = None if shown.lq.dtype == torch.uint8 else composites or WHOLE
    for order, (name, made) in enumerate(views_of(pictures, scale, used)):
        title = f"{shown.title} · {name}" if name else shown.title
        yield Views(f"{shown.number:02d}-{order}", title, shown.caption, shown.values, made)


def figure_caption(what: str, values: Mapping[str, float], ending: str) -> str:
    """The caption over a picture: "step 600 · PSNR 27.31 dB · SSIM 0.8012"."""
    parts = [figure.text(values[name + ending]) for name, figure in QUALITY.items() if name + ending in values]
    return " · ".join([what, *parts])
