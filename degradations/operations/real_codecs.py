"""Real image codecs through Pillow, on the CPU: JPEG and WebP files in memory, saved once or several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from degradations.checks import check_range
from degradations.operations.operation import Operation, OperationContext
from degradations.operations.pillow_files import through_file
from degradations.recipes import Recipe


@dataclass(frozen=True, slots=True)
class CodecRecipe(Recipe):
    """Quality of the first save, step that is added before each further one, and number of saves, int64 [B] each."""

    quality: Tensor
    step: Tensor
    saves: Tensor
    format: str

    def describe(self, i: int) -> str:
        """Sample `i` in words."""
        saves = int(self.saves[i])
        return f"{self.format} {int(self.quality[i])}" + (f" ×{saves}" if saves > 1 else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec(Operation[CodecRecipe]):
    """Save and load with a real encoder.

    Three bands are RGB; any other number is coded band by band. Sizes are those of the format (WebP: up to 16383).
    """

    type: Literal["codec"] = "codec"
    format: Literal["jpeg", "webp"] = "webp"
    """The encoder; webp is lossy."""
    quality_range: tuple[int, int] = (30, 95)
    """Quality of the first save, whole numbers in 1..100, both ends included."""
    saves: tuple[int, int] = (1, 1)
    """Fewest and most saves in a row, as of a picture that is passed on; each draws its own quality."""

    def __post_init__(self) -> None:
        Operation.__post_init__(self)
        check_range("quality_range", self.quality_range, 1, 100)
        check_range("saves", self.saves, 1, 16)

    def draw(self, u: Tensor) -> CodecRecipe:
        """Three numbers: quality, step, number of saves."""
        (low, high), (fewest, most) = self.quality_range, self.saves
        width = high - low + 1
        return CodecRecipe(
            (low + u[:, 0] * width).floor().to(torch.int64).clamp_max(high),
            (u[:, 1] * width).floor().to(torch.int64).clamp_max(width - 1),
            (fewest + u[:, 2] * (most - fewest + 1)).floor().to(torch.int64).clamp_max(most),
            self.format,
        )

    def apply(self, images: Sequence[Tensor], recipe: CodecRecipe, context: OperationContext) -> list[Tensor]:
        """Code each image; the result is k / 255.

        Raises:
            ValueError: if an image is not on the CPU.
        """
        del context
        low, width = self.quality_range[0], self.quality_range[1] - self.quality_range[0] + 1
        coded = []
        for i, image in enumerate(images):
            if image.device.type != "cpu":
                raise ValueError(f"real codecs run on the CPU, got an image on {image.device}; use `jpeg` there")
            levels = (image * 255).round().clamp(0, 255).to(torch.uint8)
            for save in range(int(recipe.saves[i])):
                quality = low + (int(recipe.quality[i]) - low + save * int(recipe.step[i])) % width
                bands = [levels] if len(levels) == 3 else [band[None] for band in levels]
                levels = torch.cat([through_file(band, self.format, quality=quality) for band in bands])
            coded.append(levels.to(image.dtype) / 255)
        return coded
