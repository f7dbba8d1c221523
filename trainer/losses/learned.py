"""Learned perceptual distances, through the packages that define them: LPIPS and DISTS."""

import contextlib
import importlib
import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainer.losses.three_bands import FixedIdx, bands_problem, three_bands
from trainer.losses.weight import check_weight
from trainer.mistakes import Mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedLoss(ABC):
    """Base class of the learned distances: configuration, and building of the module."""

    weight: float = 1.0
    """The term's factor in the objective."""
    fixed_idx: FixedIdx = None
    """Numbers, from 0, of the bands that are red, green and blue; required unless pictures have one band or three."""

    def __post_init__(self) -> None:
        check_weight(self.weight)

    @property
    def terms(self) -> dict[str, float]:
        """The terms of the objective and their factors."""
        return {"perceptual": self.weight}

    def problem(self, bands: int) -> str | None:
        """Reason why pictures of `bands` channels cannot be compared, naming the key, or None."""
        return bands_problem(bands, self.fixed_idx)

    def fetch(self, key: str) -> None:
        """Build it once, so that its weights are in torchvision's cache: on one process, before the others `build`."""
        self.build(key)

    @abstractmethod
    def build(self, key: str) -> "LearnedDistance":
        """The module, on the CPU; Mistake, naming the configuration `key`, without the package or its weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LPIPSLoss(LearnedLoss):
    """Zhang et al. 2018, "The unreasonable effectiveness of deep features", as in the package `lpips`."""

    type: Literal["lpips"] = "lpips"
    net: Literal["alex", "vgg", "squeeze"] = "alex"
    """The network whose features are compared; the guide's is alex."""

    def build(self, key: str) -> "LearnedDistance":
        net = _import_and_build("lpips", "lpips", key, lambda package: package.LPIPS(net=self.net, verbose=False))
        return LearnedDistance(net, {"normalize": True}, self.fixed_idx)


@dataclass(frozen=True, kw_only=True, slots=True)
class DISTSLoss(LearnedLoss):
    """Ding et al. 2020, "Image quality assessment: unifying structure and texture", as in `DISTS-pytorch`."""

    type: Literal["dists"] = "dists"

    def build(self, key: str) -> "LearnedDistance":
        net = _import_and_build("DISTS_pytorch", "DISTS-pytorch", key, lambda package: package.DISTS())
        return LearnedDistance(net, {"require_grad": True}, self.fixed_idx)


class LearnedDistance(nn.Module):
    """A package's distance of two pictures, frozen; not part of any checkpoint."""

    def __init__(self, net: nn.Module, options: dict[str, Any], fixed_idx: FixedIdx) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.options = options
        self.fixed_idx = fixed_idx

    def forward(self, result: Tensor, target: Tensor) -> dict[str, Tensor]:
        """{"perceptual": the mean distance, a scalar} of two float [B, C, H, W] in [0, 1], in float32."""
        with torch.autocast(result.device.type, enabled=False):
            pair = [three_bands(pictures.float(), self.fixed_idx) for pictures in (result, target)]
            distance: Tensor = self.net(*pair, **self.options).mean()
        return {"perceptual": distance}


def _import_and_build(module: str, package: str, key: str, make: Callable[[Any], nn.Module]) -> nn.Module:
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise Mistake(f"{key}.type: {error}. Its packages are needed: pip install {package} torchvision.") from error
    except Exception as error:  # a torchvision that was built for another torch
        raise Mistake(f"{key}.type: {package} is installed, but broken: {type(error).__name__}: {error}.") from error
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the packages use torchvision's old names for weights
            return make(imported)
    except Exception as error:  # urllib's, torch's and the packages' own
        raise Mistake(
            f"{key}.type: {package} is installed, but its weights could not be had: {type(error).__name__}: {error}. "
            f"PyTorch keeps what it downloads in {torch.hub.get_dir()}: fill that where there is a network."
        ) from error
