"""Learned perceptual distances: LPIPS 0.1 and DISTS, on torchvision's networks, equal to the authors' packages."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degradations.precision import no_autocast
from trainer.files.paths import PathText
from trainer.losses.backbones import Backbone, Features, read_backbone
from trainer.losses.three_bands import FixedIdx, bands_problem, three_bands
from trainer.losses.vgg import IMAGENET_MEAN, IMAGENET_STD
from trainer.losses.weight import check_weight

HERE = Path(__file__).parent
LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and deviation of LPIPS's training pictures in [-1, 1] (its ScalingLayer)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedLoss(ABC):
    """Base class of the learned distances: configuration, and building of the module."""

    weight: float = 1.0
    """The term's factor in the objective."""
    fixed_idx: FixedIdx = None
    """Numbers, from 0, of the bands that are red, green and blue; required unless pictures have one band or three."""
    weights: PathText | None = None
    """The network's weights under torchvision's names: a .pth or .safetensors file, or a hub id such as
    timm/vgg16.tv_in1k. null is torchvision's own file, from torch's cache or downloaded to it."""

    def __post_init__(self) -> None:
        check_weight(self.weight)

    @property
    def terms(self) -> dict[str, float]:
        """The terms of the objective and their factors."""
        return {"perceptual": self.weight}

    def problem(self, bands: int) -> str | None:
        """Reason why pictures of `bands` channels cannot be compared, naming the key, or None."""
        return bands_problem(bands, self.fixed_idx)

    @property
    @abstractmethod
    def backbone(self) -> Backbone:
        """The network whose features are compared."""

    def fetch(self, key: str) -> None:
        """Find the weights, downloading them if necessary: on one process of a machine, before the others `build`.

        Raises Mistake, naming keys under the configuration `key`, if they are absent or another network's.
        """
        read_backbone(self.backbone, self.weights, key, download=True)

    @abstractmethod
    def build(self, key: str) -> "LearnedDistance":
        """The module, on the CPU; nothing is downloaded. Raises Mistake as `fetch` does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LPIPSLoss(LearnedLoss):
    """Zhang et al. 2018, "The unreasonable effectiveness of deep features", version 0.1 as in the package `lpips`."""

    type: Literal["lpips"] = "lpips"
    net: Backbone = "alex"
    """The network whose features are compared; the guide's is alex."""

    @property
    def backbone(self) -> Backbone:
        """The network whose features are compared."""
        return self.net

    def build(self, key: str) -> "LearnedDistance":
        """The module, on the CPU."""
        tensors = read_backbone(self.net, self.weights, key, download=False)
        return LearnedDistance(LPIPS(self.net, tensors), self.fixed_idx)


@dataclass(frozen=True, kw_only=True, slots=True)
class DISTSLoss(LearnedLoss):
    """Ding et al. 2020, "Image quality assessment: unifying structure and texture", as in `DISTS-pytorch`."""

    type: Literal["dists"] = "dists"

    @property
    def backbone(self) -> Backbone:
        """VGG16, whose features are compared."""
        return "vgg"

    def build(self, key: str) -> "LearnedDistance":
        """The module, on the CPU."""
        return LearnedDistance(DISTS(read_backbone("vgg", self.weights, key, download=False)), self.fixed_idx)


class LearnedDistance(nn.Module):
    """A distance of two pictures as a loss, frozen; not part of any checkpoint."""

    def __init__(self, net: nn.Module, fixed_idx: FixedIdx) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.fixed_idx = fixed_idx

    def forward(self, result: Tensor, target: Tensor) -> dict[str, Tensor]:
        """{"perceptual": the mean distance, a scalar} of two float [B, C, H, W] in [0, 1], in float32."""
        with no_autocast(result.device):
            pair = [three_bands(pictures.float(), self.fixed_idx) for pictures in (result, target)]
            distance: Tensor = self.net(*pair).mean()
        return {"perceptual": distance}


class LPIPS(nn.Module):
    """LPIPS 0.1: the features' squared differences of direction, weighed by channel and averaged over places."""

    shift: Tensor
    scale: Tensor

    def __init__(self, kind: Backbone, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.net = Features(kind, tensors)
        heads = _shipped("lpips_v0.1.safetensors")
        self.heads = len(self.net.taps)
        for number in range(self.heads):
            self.register_buffer(f"head{number}", heads[f"{kind}.{number}"][:, None, None])
        self.register_buffer("shift", torch.tensor(LPIPS_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(LPIPS_SCALE)[:, None, None])

    def forward(self, result: Tensor, target: Tensor) -> Tensor:
        """Distances [B] of two float32 [B, 3, H, W] in [0, 1]; at least 31 pixels a side for alex, 16 vgg, 17 squeeze.

        The target's features need no graph and get none, unless it has one.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and target.requires_grad):
            wanted = self._directions(target)
        parts = [
            ((got - there) ** 2 * self.get_buffer(f"head{number}")).sum(1).mean((1, 2))
            for number, (got, there) in enumerate(zip(self._directions(result), wanted, strict=True))
        ]
        return torch.stack(parts).sum(0)

    def _directions(self, pictures: Tensor) -> list[Tensor]:
        """The features, each place's vector divided by its length."""
        features = self.net((2 * pictures - 1 - self.shift) / self.scale)
        return [value / (value.square().sum(1, keepdim=True).sqrt() + 1e-10) for value in features]


class HannPool(nn.Module):
    """DISTS's pooling: the root of squares smoothed by a Hann window of 3 x 3, at every second place."""

    filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.hann_window(5, periodic=False)[1:-1]
        window = line[:, None] * line
        self.register_buffer("filter", (window / window.sum()).expand(channels, 1, 3, 3).clone())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to half the height and width, rounded up."""
        smoothed = F.conv2d(x**2, self.filter, stride=2, padding=1, groups=x.shape[1])
        return (smoothed + 1e-12).sqrt()


class DISTS(nn.Module):
    """DISTS: similarity of the features' means (texture) and of their covariances (structure), weighed by channel."""

    mean: Tensor
    std: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.net = Features("vgg", tensors, HannPool)
        weights = _shipped("dists.safetensors")
        total = weights["alpha"].sum() + weights["beta"].sum()
        for name in ("alpha", "beta"):
            self.register_buffer(name, weights[name] / total)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def forward(self, result: Tensor, target: Tensor) -> Tensor:
        """Distances [B] of two float32 [B, 3, H, W] in [0, 1]; at least 16 pixels a side mean something.

        The target's features need no graph and get none, unless it has one.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and target.requires_grad):
            wanted = self._features(target)
        texture, structure = [], []
        for x, y in zip(self._features(result), wanted, strict=True):
            x_mean, y_mean = x.mean((2, 3)), y.mean((2, 3))
            texture.append((2 * x_mean * y_mean + 1e-6) / (x_mean**2 + y_mean**2 + 1e-6))
            x_var = ((x - x_mean[..., None, None]) ** 2).mean((2, 3))
            y_var = ((y - y_mean[..., None, None]) ** 2).mean((2, 3))
            covariance = (x * y).mean((2, 3)) - x_mean * y_mean
            structure.append((2 * covariance + 1e-6) / (x_var + y_var + 1e-6))
        return 1 - (self.alpha * torch.cat(texture, 1) + self.beta * torch.cat(structure, 1)).sum(1)

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """The picture itself, and the features of VGG16."""
        return [pictures, *self.net((pictures - self.mean) / self.std)]


@cache
def _shipped(name: str) -> dict[str, Tensor]:
    """Tensors of a file of this folder; LICENSES.txt has where they are from."""
    return safetensors.torch.load_file(HERE / name)
