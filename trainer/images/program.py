"""Pictures that a Python program gives itself: batches that it feeds, or an own dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainer.images.decode import rgb_of
from trainer.images.identity import Identity, sha256_of
from trainer.images.levels import quantised
from trainer.images.opened import BUDGET, Budget, Unreadable
from trainer.images.radiometry import Radiometry
from trainer.mistakes import Mistake

KEYS = ("gt", "image")
"""Entries of a dataset's items in which a picture is looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramImages:
    """Pictures that a Python program gives, as trainer/README.md shows: no file of configuration can."""

    radiometry: ClassVar[Radiometry | None] = None

    type: Literal["python"]
    given: str = "batches that a program feeds"
    """The pictures in words. A run that is resumed is given them again."""

    def open(self, budget: Budget = BUDGET) -> NoReturn:  # noqa: ARG002 - one signature for all sources
        """Raise Mistake: pictures in a program's memory cannot be opened from a configuration."""
        raise Mistake(f"type: python, {self.given}: give them again, as `images` of `trainer.train` in Python.")


@dataclass(frozen=True, slots=True)
class ProgramSource:
    """A map-style dataset of a program's own as an `ImageSource`.

    Its items are pictures: PIL images, arrays uint8 [H, W, 3], or tensors [3, H, W], uint8 or float in [0, 1]; or dicts
    that have one under `gt` or `image`.
    """

    dataset: Any
    key: str = "images"
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The dataset in words."""
        return f"{type(self.dataset).__name__} of {len(self)} pictures"

    @property
    def identity(self) -> Identity:
        """Identity by the number of pictures, and by `datasets`' own fingerprint if it has one."""
        content = sha256_of([len(self), type(self.dataset).__qualname__, getattr(self.dataset, "_fingerprint", "")])
        return Identity(len(self), content, content)

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        """A picture in words: its number."""
        return f"picture {index} of {type(self.dataset).__name__}"

    def read(self, index: int) -> Tensor:
        """Picture `index`, uint8 [3, H, W]; `Unreadable` if the dataset raises, or gives none."""
        try:
            item = self.dataset[index]
        except Exception as error:  # of a program's own dataset
            raise Unreadable(self.name(index), f"{type(error).__name__}: {error}") from error
        if isinstance(item, Mapping):
            item = next((item[key] for key in KEYS if key in item), item)
        if isinstance(item, Image.Image):
            return rgb_of(item, self.name(index))
        picture = item if isinstance(item, Tensor) else self._of_array(item, index)
        if picture.ndim != 3 or picture.shape[0] != 3 or 0 in picture.shape:
            raise Unreadable(self.name(index), f"it is a tensor {list(picture.shape)}; must be [3, H, W]")
        if picture.is_floating_point():
            if not bool(((picture >= 0) & (picture <= 1)).all()):
                low, high = picture.min().item(), picture.max().item()
                raise Unreadable(self.name(index), f"it has values from {low:g} to {high:g}; floats must be in [0, 1]")
            return quantised(picture.detach().cpu(), torch.uint8)
        if picture.dtype != torch.uint8:
            raise Unreadable(self.name(index), f"it is {str(picture.dtype)[6:]}; must be uint8, or float in [0, 1]")
        return picture.cpu()

    def _of_array(self, item: Any, index: int) -> Tensor:
        """An array [H, W, 3], channels last as such arrays have them."""
        if not hasattr(item, "__array__") or getattr(item, "ndim", 0) != 3:
            wanted = "must be a picture, or a dict with one under `gt` or `image`"
            raise Unreadable(self.name(index), f"it is {type(item).__name__}; {wanted}")
        # a copy: an array may be read-only, as of PIL, or have negative strides, as channels that were turned round
        return torch.as_tensor(np.array(item, order="C")).permute(2, 0, 1)
