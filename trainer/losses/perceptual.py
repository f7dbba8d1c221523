"""Distances between pictures in the features of VGG19 (Johnson et al. 2016; ESRGAN's layers before activation)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from degradations.precision import no_autocast
from trainer.files.paths import PathText
from trainer.losses.three_bands import FixedIdx, bands_problem
from trainer.losses.vgg import LAYER_NAMES, SeenByVGG, VGG19Features, read_vgg

REALESRGAN_LAYERS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}

Criterion = Literal["l1", "mse", "frobenius"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PerceptualLoss:
    """VGG19's perceptual and style losses, under BasicSR's names; the defaults are Real-ESRGAN's."""

    type: Literal["vgg"] = "vgg"
    weight: float = 1.0
    """The perceptual term's factor in the objective (upstream's `perceptual_weight`); 0 leaves it out."""
    style_weight: float = 0.0
    """The factor of the same distance between Gram matrices; 0 leaves it out."""
    layer_weights: dict[str, float] = field(default_factory=lambda: dict(REALESRGAN_LAYERS))
    """Each layer's factor: convI_J is before its activation, reluI_J after it (the guide's is relu5_4), poolI."""
    criterion: Criterion = "l1"
    """The distance of two features: mean |d|, mean d^2 (the guide's), or the norm of d, averaged over pictures."""
    use_input_norm: bool = True
    """Shift and scale by ImageNet's mean and deviation, as VGG was trained; the guide's framework does not."""
    fixed_idx: FixedIdx = None
    """Numbers, from 0, of the bands that are red, green and blue; required unless pictures have one band or three."""
    weights: PathText = "timm/vgg19.tv_in1k"
    """A .pth or .safetensors file with torchvision's names, which may end at the deepest layer used, or a hub id."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.layer_weights if name not in LAYER_NAMES]:
            raise ValueError(f"layer_weights: got {', '.join(unknown)}; allowed: {', '.join(LAYER_NAMES)}")
        if not self.layer_weights or min(self.layer_weights.values()) <= 0:
            raise ValueError("layer_weights: must name at least one layer, each with a positive factor")
        if min(self.weight, self.style_weight) < 0 or not self.terms:
            got = f"got {self.weight}, with a style_weight of {self.style_weight}"
            raise ValueError(f"weight: {got}; one must be positive, and neither less than 0")

    @property
    def terms(self) -> dict[str, float]:
        """The terms of the objective and their factors, which are positive."""
        factors = {"perceptual": self.weight, "style": self.style_weight}
        return {name: factor for name, factor in factors.items() if factor > 0}

    def problem(self, bands: int) -> str | None:
        """Reason why pictures of `bands` channels cannot be compared, naming the key, or None."""
        return bands_problem(bands, self.fixed_idx)

    def fetch(self, key: str) -> None:
        """Find the weights, downloading them if necessary: on one process of a machine, before the others `build`.

        Raises Mistake, naming keys under the configuration `key`, if they are absent or too few.
        """
        read_vgg(self.weights, self.layer_weights, key, download=True)

    def build(self, key: str) -> "PerceptualDistance":
        """The module, on the CPU; nothing is downloaded. Raises Mistake as `fetch` does."""
        tensors = read_vgg(self.weights, self.layer_weights, key, download=False)
        return PerceptualDistance(VGG19Features(tensors, self.layer_weights), self)


class PerceptualDistance(nn.Module):
    """The terms of `PerceptualLoss` on a frozen network; not part of any checkpoint."""

    def __init__(self, vgg: VGG19Features, config: PerceptualLoss) -> None:
        super().__init__()
        self.seen = SeenByVGG(vgg, config.fixed_idx, config.use_input_norm)
        self.config = config

    def forward(self, result: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Each of `config.terms` before its factor, a float32 scalar, for two float [B, C, H, W] in [0, 1].

        Under autocast the network runs at the lower precision and the distances in float32. The target's features need
        no graph and get none.
        """
        with torch.no_grad():
            wanted = self.seen(target)
        got = self.seen(result)
        with no_autocast(result.device):
            distances = {"perceptual": self._distance(got, wanted)} if "perceptual" in self.config.terms else {}
            if "style" in self.config.terms:
                distances["style"] = self._distance(_grams(got), _grams(wanted))
        return distances

    def _distance(self, got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
        parts = [
            weight * _distance_between(self.config.criterion, got[name], wanted[name])
            for name, weight in self.config.layer_weights.items()
        ]
        return torch.stack(parts).sum()


def _distance_between(criterion: Criterion, got: Tensor, wanted: Tensor) -> Tensor:
    """The distance of two tensors [B, ...], a scalar.

    `frobenius` is upstream's Frobenius norm of one picture's difference, averaged; upstream takes one norm of the whole
    batch, which grows with its square root and depends on how the batch is divided.
    """
    if criterion == "l1":
        return F.l1_loss(got, wanted)
    if criterion == "mse":
        return F.mse_loss(got, wanted)
    lengths: Tensor = torch.linalg.vector_norm((got - wanted).flatten(1), dim=1)
    return lengths.mean()


def _grams(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gatys et al. 2016, eq. 3, divided by the number of features as in BasicSR: [B, C, h, w] to [B, C, C]."""
    grams = {}
    for name, value in features.items():
        flat = rearrange(value, "batch channel height width -> batch channel (height width)")
        grams[name] = flat @ rearrange(flat, "batch channel place -> batch place channel") / value[0].numel()
    return grams
