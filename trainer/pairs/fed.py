"""Pictures that a program gives to a model itself, checked, as a micro-batch of the trainer's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.images.crops import GivenPairs, ImageBatch
from trainer.images.levels import quantised
from trainer.mistakes import Mistake

KERNELS = ("kernel1", "kernel2", "sinc_kernel")
PATHS = ("gt_path", "lq_path")
"""Names that loaders of Real-ESRGAN and BasicSR give along."""


@dataclass(frozen=True, slots=True)
class FedData:
    """One micro-batch: clean pictures to degrade, given pairs, or low-quality pictures alone."""

    gt: Tensor | None
    """uint8 or uint16 [b, C, H, W]; on any device."""
    lq: Tensor | None
    """The same type, [b, C, h, w]."""
    kernels: Mapping[str, Tensor] = field(default_factory=dict)
    """By the names of `KERNELS`: float32 [b, K, K]."""
    names: tuple[str, ...] = ()
    """The pictures' paths, where the loader gives some."""

    def __len__(self) -> int:
        pictures = self.lq if self.gt is None else self.gt
        return 0 if pictures is None else len(pictures)

    def batch(self, first: int) -> ImageBatch:
        """The micro-batch at positions from `first` on; given pairs where there is an `lq`."""
        assert self.gt is not None
        positions = torch.arange(first, first + len(self.gt))
        if self.lq is None:
            return ImageBatch(pixels=self.gt, positions=positions, unreadable=[])
        given = GivenPairs(self.lq, self.gt, torch.arange(len(positions)))
        return ImageBatch(pixels=None, positions=positions, unreadable=[], given=given)


@dataclass(frozen=True, slots=True)
class FedFormat:
    """The form that fed pictures must have.

    Parameters
    ----------
    dtype : of stored pictures, uint8 or uint16
    scale : pixels of the ground truth for one of the low-quality picture, per side
    gt_size : side of the patches that are trained on
    """

    bands: int
    dtype: torch.dtype
    scale: int
    gt_size: int

    def checked(self, data: Mapping[str, Any], *, trains: bool) -> FedData:
        """`data` as `RealESRNetModel.feed_data` documents it; sizes are checked where it `trains`.

        Raises:
            Mistake: an entry is absent, unknown, or not of its form; it names the entry.
        """
        if not isinstance(data, Mapping):
            raise Mistake(f"data: got {type(data).__name__}; must be a dict with `gt`, `lq` or both.")
        if unknown := [str(key) for key in data if key not in ("gt", "lq", *KERNELS, *PATHS)]:
            raise Mistake(f"data: got {', '.join(sorted(unknown))}; known are gt, lq, {', '.join((*KERNELS, *PATHS))}.")
        gt, lq = (self._pictures(name, data[name]) if name in data else None for name in ("gt", "lq"))
        if gt is None and lq is None:
            raise Mistake("data: must have `gt`, `lq` or both.")
        if gt is not None:
            self._check_sides(gt, lq, trains)
        names = next((_paths(key, data[key]) for key in reversed(PATHS) if key in data), ())
        kernels = {name: self._kernels(name, data[name], gt) for name in KERNELS if name in data}
        return FedData(gt, lq, kernels, names)

    def _pictures(self, name: str, value: Any) -> Tensor:
        wanted = f"must be a tensor [b, {self.bands}, H, W], float in [0, 1] or {str(self.dtype)[6:]}"
        if not isinstance(value, Tensor):
            raise Mistake(f"data[{name!r}]: got {type(value).__name__}; {wanted}.")
        if value.layout != torch.strided:
            raise Mistake(f"data[{name!r}]: got a tensor of layout {str(value.layout)[6:]}; {wanted}.")
        if value.ndim != 4 or value.shape[1] != self.bands or 0 in value.shape:
            raise Mistake(f"data[{name!r}]: got a tensor {list(value.shape)}; {wanted}.")
        if value.dtype == self.dtype:
            return value
        if not value.is_floating_point():
            raise Mistake(f"data[{name!r}]: got {str(value.dtype)[6:]}; {wanted}.")
        if value.device.type == "cpu" and not bool(((value >= 0) & (value <= 1)).all()):  # on a GPU it would wait
            low, high = value.min().item(), value.max().item()
            raise Mistake(f"data[{name!r}]: got values from {low:g} to {high:g}; {wanted}.")
        return quantised(value.detach().float(), self.dtype)

    def _check_sides(self, gt: Tensor, lq: Tensor | None, trains: bool) -> None:
        """Mistake where the pictures' sides do not suit each other, or the patches that are cut from them."""
        height, width = gt.shape[-2:]
        if lq is not None:
            wanted = [len(gt), self.bands, height // self.scale, width // self.scale]
            if list(lq.shape) != wanted or height % self.scale or width % self.scale:
                raise Mistake(
                    f"data['lq']: got a tensor {list(lq.shape)}; for `gt` {list(gt.shape)} and scale {self.scale} it "
                    f"must be {wanted}, and the sides of `gt` multiples of {self.scale}."
                )
            if trains and (height, width) != (self.gt_size, self.gt_size):
                raise Mistake(f"data['gt']: got {height}x{width}; given pairs must be of gt_size, {self.gt_size}.")
        elif trains and (min(height, width) < self.gt_size or height % self.scale or width % self.scale):
            raise Mistake(
                f"data['gt']: got {height}x{width}; the sides must be at least gt_size, {self.gt_size}, and multiples "
                f"of the scale, {self.scale}."
            )

    def _kernels(self, name: str, value: Any, gt: Tensor | None) -> Tensor:
        if gt is None:
            raise Mistake(f"data[{name!r}]: there is no `gt` to blur.")
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if not isinstance(value, Tensor) or value.ndim != 3 or len(value) != len(gt) or not value.is_floating_point():
            raise Mistake(f"data[{name!r}]: got {shape}; must be a float tensor [{len(gt)}, K, K].")
        if value.shape[1] != value.shape[2] or value.shape[1] % 2 == 0:
            raise Mistake(f"data[{name!r}]: got {shape}; kernels must be square, with an odd side.")
        return value.detach().float()


def _paths(name: str, value: Any) -> tuple[str, ...]:
    """The paths that a loader gives for a batch; Mistake where they are none."""
    paths = [value] if isinstance(value, str | Path) else value
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str | Path) for path in paths):
        raise Mistake(f"data[{name!r}]: got {type(value).__name__}; must be a list of paths, one for each picture.")
    return tuple(map(str, paths))
