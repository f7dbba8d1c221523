"""Sample sheets: input, result and ground truth side by side, with captions."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from trainer.files.atomic import atomically

NARROWEST, WIDEST = 320, 640
"""Limits for the width of a column: a caption with step, PSNR and SSIM fits one line of the least, and three columns
of the largest fit a screen. A smaller picture is enlarged by a whole number, so that its pixels stay true."""

Bands = tuple[int, int, int] | None
LIMITS = torch.tensor([0.02, 0.98])
SAMPLED = 2**20  # pixels for percentiles; torch sorts no more than 2**24

MARGIN = 8
PAPER, INK, PENCIL = (255, 255, 255), (20, 20, 20), (110, 110, 110)
TITLE, TEXT, NOTE = 17, 14, 12  # sizes of the letters in pixels

SPELLED = str.maketrans({"σ": "sigma ", "ω": "omega ", "π": " pi", "β": "beta ", "×": "x"})
"""Characters of recipes that Pillow's font lacks -> their spelling."""


@dataclass(frozen=True, slots=True)
class Column:
    """One picture of a strip and what is written above it."""

    caption: str
    picture: Tensor
    """uint8 [3, H, W]."""


def strip(columns: Sequence[Column], title: str, note: str = "") -> Tensor:
    """Draw pictures of one size side by side.

    Args:
        columns: pictures with a caption each, such as "step 600 · PSNR 27.31 dB · SSIM 0.8012"; a long caption wraps.
        title: one line over all.
        note: small print under the pictures, such as the recipe of the degradation; it wraps.

    Returns:
        uint8 [3, h, w].
    """
    sizes = {tuple(column.picture.shape) for column in columns}
    if len(sizes) != 1:
        raise ValueError(f"the pictures of a strip have one size, got {sorted(sizes)}")
    pictures = [_fitted(column.picture) for column in columns]
    width, height = pictures[0].size
    total = len(pictures) * (width + MARGIN) + MARGIN

    head = _wrapped(title, TITLE, total - 2 * MARGIN)
    captions = [_wrapped(column.caption, TEXT, width) for column in columns]
    caption_lines = max(len(lines) for lines in captions)
    foot = _wrapped(note, NOTE, total - 2 * MARGIN)

    caption_top = MARGIN + len(head) * _pitch(TITLE) + MARGIN // 2
    picture_top = caption_top + caption_lines * _pitch(TEXT) + MARGIN // 2
    foot_top = picture_top + height + MARGIN // 2
    paper = Image.new("RGB", (total, foot_top + len(foot) * _pitch(NOTE) + MARGIN), PAPER)
    _write(paper, head, MARGIN, MARGIN, TITLE, INK)
    _write(paper, foot, MARGIN, foot_top, NOTE, PENCIL)
    for number, (picture, lines) in enumerate(zip(pictures, captions, strict=True)):
        left = MARGIN + number * (width + MARGIN)
        _write(paper, lines, left, picture_top - MARGIN // 2 - len(lines) * _pitch(TEXT), TEXT, INK)
        paper.paste(picture, (left, picture_top))
    return _to_tensor(paper)


def composite(pictures: Sequence[Tensor], bands: Bands, reference: int = -1) -> list[Tensor]:
    """Multi-band pictures of one scene, as RGB for viewing.

    Args:
        pictures: [C, H, W] of any numeric type and one size.
        bands: the numbers of those to show as red, green and blue; None shows all three, or the only one, as they are.
        reference: the index of the picture whose percentiles stretch all of them; by default the last.

    Returns:
        uint8 [3, H, W] each. A band's 2nd and 98th percentile in the reference are its black and white in all of them,
        so that differences between the pictures stay differences.
    """
    chosen = [
        (picture if bands is None else torch.stack([picture[band] for band in bands])).float() for picture in pictures
    ]
    by = chosen[reference]
    limits = torch.quantile(by.flatten(1)[:, :: max(1, by[0].numel() // SAMPLED)], LIMITS, dim=1)
    low, high = rearrange(limits, "limit band -> limit band 1 1")
    shares = [(picture - low) / (high - low).clamp(min=1e-6) for picture in chosen]
    return [(share.clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1) for share in shares]


def sheet(strips: Sequence[Tensor]) -> Tensor:
    """Put strips, uint8 [3, h, w] of any sizes, below each other on white: uint8 [3, sum of h, largest w]."""
    width = max(picture.shape[2] for picture in strips)
    rows = [torch.full((3, picture.shape[1], width), 255, dtype=torch.uint8) for picture in strips]
    for row, picture in zip(rows, strips, strict=True):
        row[:, :, : picture.shape[2]] = picture
    return torch.cat(rows, dim=1)


def save_png(picture: Tensor, path: Path) -> None:
    """Write uint8 [3, H, W] as a PNG that is complete or absent; its folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as aside:
        image_of(picture).save(aside, format="PNG")


def _fitted(picture: Tensor) -> Image.Image:
    """The picture at a width between `NARROWEST` and `WIDEST`."""
    image = image_of(picture)
    if image.width > WIDEST:
        height = max(1, round(image.height * WIDEST / image.width))
        return image.resize((WIDEST, height), Image.Resampling.LANCZOS)
    times = max(1, -(-NARROWEST // image.width))
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """`text` in lines that fit `width`, broken at blanks; a word that is longer than a line stays whole."""
    letters = unicodedata.normalize("NFKD", text.translate(SPELLED))  # the font has e, but no é
    lines: list[str] = []
    for word in "".join(letter for letter in letters if not unicodedata.combining(letter)).split():
        if lines and _font(size).getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _write(
    paper: Image.Image, lines: Sequence[str], left: int, top: int, size: int, colour: tuple[int, int, int]
) -> None:
    draw = ImageDraw.Draw(paper)
    for number, line in enumerate(lines):
        draw.text((left, top + number * _pitch(size)), line, fill=colour, font=_font(size))


def _pitch(size: int) -> int:
    """Distance in pixels from one line to the next."""
    return round(1.35 * size)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)  # Aileron, shipped within Pillow: no font of the machine is needed
    assert isinstance(font, ImageFont.FreeTypeFont), "this Pillow was built without FreeType"
    return font


def image_of(picture: Tensor) -> Image.Image:
    """uint8 [3, H, W] as an image."""
    return Image.fromarray(rearrange(picture, "rgb row column -> row column rgb").contiguous().numpy())


def _to_tensor(image: Image.Image) -> Tensor:
    return rearrange(torch.from_numpy(np.array(image)), "row column rgb -> rgb row column").contiguous()
