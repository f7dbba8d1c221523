"""Measures of validation pictures beside PSNR and SSIM: of whole batches, where the pictures are."""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainer.images.levels import unit
from trainer.mistakes import Failure
from trainer.validation.displacement import displacement
from trainer.validation.niqe import niqe
from trainer.validation.psnr_ssim import luma
from trainer.validation.sharpness import sharpness


class Measured(Protocol):
    """One metric, ready to measure."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its figures, the first of which is that of the metric."""

    @property
    def needs_gt(self) -> bool:
        """True if it compares with ground truth."""

    @property
    def identity(self) -> str:
        """A checksum of what its values depend on beside the pictures; empty where its name says all."""

    @property
    def network(self) -> nn.Module | None:
        """The network that it measures with, to be moved to the device and compared over ranks."""

    def __call__(self, results: Tensor, gt: Tensor | None) -> Tensor:
        """Its figures, [B, figures], of results and ground truth of the stored type, [B, C, H, W], border cut off; NaN
        where a picture has none."""


class _Plain:
    """A measure without a network."""

    names: tuple[str, ...] = ()
    needs_gt = True
    identity = ""
    network: nn.Module | None = None


class NaturalQuality(_Plain):
    """NIQE of photographs."""

    names = ("niqe",)
    needs_gt = False

    def __call__(self, results: Tensor, gt: Tensor | None) -> Tensor:  # noqa: ARG002
        """NIQE, [B, 1]."""
        return niqe(results)[:, None]


class Displacement(_Plain):
    """Displacement in hundredths of a pixel: its length, and to the right and down."""

    names = ("displacement", "displacement_x", "displacement_y")

    def __call__(self, results: Tensor, gt: Tensor | None) -> Tensor:
        """Length, right and down, [B, 3]."""
        assert gt is not None, "it compares with ground truth"
        place = 100 * displacement(_plane(results), _plane(gt))
        return torch.cat([place.norm(dim=1, keepdim=True), place], 1)


class Sharpness(_Plain):
    """Sharpness beside the ground truth."""

    names = ("sharpness",)

    def __call__(self, results: Tensor, gt: Tensor | None) -> Tensor:
        """The ratio, [B, 1]."""
        assert gt is not None, "it compares with ground truth"
        return sharpness(_plane(results), _plane(gt))[:, None]


class LearnedMetric:
    """LPIPS or DISTS of photographs, in float32 without TensorFloat-32."""

    needs_gt = True

    def __init__(self, name: str, net: nn.Module) -> None:
        self.names = (name,)
        self.network: nn.Module = net.eval().requires_grad_(False)
        # The official names stand for one network each.
        self.identity = _checksum(net) if name.endswith("_custom") else ""

    def __call__(self, results: Tensor, gt: Tensor | None) -> Tensor:
        """Distances, [B, 1]."""
        assert gt is not None, "it compares with ground truth"
        allowed = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            distance: Tensor = self.network(unit(results), unit(gt))
        finally:
            torch.backends.cudnn.allow_tf32 = allowed
        return distance.double()[:, None]


class ModuleMetric:
    """A metric of another package."""

    def __init__(self, name: str, made: Callable[..., Any], needs_gt: bool, identity: str, key: str) -> None:
        self.names, self.made, self.needs_gt, self.identity, self.key = (name,), made, needs_gt, identity, key
        self.network = made if isinstance(made, nn.Module) else None

    def __call__(self, results: Tensor, gt: Tensor | None) -> Tensor:
        """Its values, [B, 1]; Failure where it fails or gives something else."""
        pictures = [unit(results), *([unit(gt)] if self.needs_gt and gt is not None else [])]
        count = len(results)
        try:
            values = [torch.as_tensor(self.made(*(part[n : n + 1] for part in pictures))) for n in range(count)]
            return torch.stack([value.detach().double().to(results.device).reshape(()) for value in values])[:, None]
        except Exception as error:  # a foreign metric may raise anything
            raise Failure(f"{self.key}: the metric {self.names[0]} failed: {type(error).__name__}: {error}") from error


def _plane(pictures: Tensor) -> Tensor:
    """Luma of photographs, the mean of other bands: float64 [B, H, W]."""
    if pictures.dtype == torch.uint8 and pictures.shape[1] == 3:
        return torch.stack([luma(picture)[0] for picture in pictures])
    return unit(pictures).double().mean(1)


def _checksum(net: nn.Module) -> str:
    """SHA-256 of a network's parameters."""
    found = hashlib.sha256()
    for value in net.parameters():
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
