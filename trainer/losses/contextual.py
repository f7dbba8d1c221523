"""Contextual loss: features matched wherever they are in the target (Mechrez, Talmi and Zelnik-Manor 2018, ECCV)."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from degradations.precision import no_autocast
from trainer.files.paths import PathText
from trainer.losses.three_bands import FixedIdx, bands_problem
from trainer.losses.vgg import LAYER_NAMES, SeenByVGG, VGG19Features, read_vgg
from trainer.losses.weight import check_weight

EPSILON = 1e-5  # the paper's
PAIRS = 2**22
"""Most pairs of features that are compared at a time: 16 MiB a matrix, of which five exist."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextualLoss:
    """-log CX of VGG19's features, a distance that needs no pixel-wise alignment (eq. 1 to 5).

    d_ij = (1 - cos(x_i - m, y_j - m)) / 2 for the features x_i of the result and y_j of the target, m the target's mean
    feature; d~_ij = d_ij / (min_k d_ik + 1e-5); CX_ij = softmax_j(-d~_ij / h); CX = mean_j max_i CX_ij. m is of one
    picture, and so is the logarithm: micro-batches average to the batch. It is not 0 for equal pictures.
    """

    weight: float = 1.0
    """The term's factor in the objective; 0 leaves it out. On a CPU a fifth more than the price of the perceptual
    loss. Memory is bounded: similarities are computed in parts, and again for the gradient."""
    layer_weights: dict[str, float] = field(default_factory=lambda: {"conv3_2": 1.0, "conv4_2": 1.0})
    """Each layer's factor: convI_J is before its activation, reluI_J after it, poolI; deep ones are cheap."""
    bandwidth: float = 0.5
    """h: the smaller, the more only the nearest features count."""
    use_input_norm: bool = True
    """Shift and scale by ImageNet's mean and deviation, as VGG was trained."""
    fixed_idx: FixedIdx = None
    """Numbers, from 0, of the bands that are red, green and blue; required unless pictures have one band or three."""
    weights: PathText = "timm/vgg19.tv_in1k"
    """A .pth or .safetensors file with torchvision's names, which may end at the deepest layer used, or a hub id."""

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if unknown := [name for name in self.layer_weights if name not in LAYER_NAMES]:
            raise ValueError(f"layer_weights: got {', '.join(unknown)}; allowed: {', '.join(LAYER_NAMES)}")
        if not self.layer_weights or min(self.layer_weights.values()) <= 0:
            raise ValueError("layer_weights: must name at least one layer, each with a positive factor")
        if self.bandwidth <= 0:
            raise ValueError(f"bandwidth: got {self.bandwidth}; must be positive")

    def problem(self, bands: int) -> str | None:
        """Reason why pictures of `bands` channels cannot be compared, naming the key, or None."""
        return bands_problem(bands, self.fixed_idx)

    def fetch(self, key: str) -> None:
        """Find the weights, downloading them if necessary: on one process of a machine, before the others `build`.

        Raises Mistake, naming keys under the configuration `key`, if they are absent or too few.
        """
        read_vgg(self.weights, self.layer_weights, key, download=True)

    def build(self, key: str) -> "ContextualDistance":
        """The module, on the CPU; nothing is downloaded. Raises Mistake as `fetch` does."""
        tensors = read_vgg(self.weights, self.layer_weights, key, download=False)
        return ContextualDistance(VGG19Features(tensors, self.layer_weights), self)


class ContextualDistance(nn.Module):
    """`ContextualLoss` on a frozen network; not part of any checkpoint."""

    def __init__(self, vgg: VGG19Features, config: ContextualLoss) -> None:
        super().__init__()
        self.seen = SeenByVGG(vgg, config.fixed_idx, config.use_input_norm)
        self.config = config

    def forward(self, result: Tensor, target: Tensor) -> Tensor:
        """The loss before its factor, a float32 scalar, of two float [B, C, H, W] in [0, 1].

        Under autocast the network runs at the lower precision and the comparison in float32.
        """
        with torch.no_grad():
            wanted = self.seen(target)
        got = self.seen(result)
        with no_autocast(result.device):
            parts = [
                weight * contextual_distance(got[name], wanted[name], self.config.bandwidth)
                for name, weight in self.config.layer_weights.items()
            ]
            return torch.stack(parts).sum()


def contextual_distance(got: Tensor, wanted: Tensor, bandwidth: float) -> Tensor:
    """mean over pictures of -log CX, a scalar, of two features float32 [B, C, h, w]."""
    wanted, got = wanted.flatten(2), got.flatten(2)
    mean = wanted.mean(2, keepdim=True)
    x, y = (F.normalize(features - mean, dim=1) for features in (got, wanted))
    rows = max(1, PAIRS // y.shape[2])
    similarities = []
    for x_one, y_one in zip(x, y, strict=True):
        best = [_best(part, y_one, bandwidth) for part in x_one.split(rows, dim=1)]
        similarities.append(torch.stack(best).amax(0).mean())
    return -torch.stack(similarities).log().mean()


def _best(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    """max_i CX_ij for some unit features x, [C, n], and all y, [C, N]: [N]. It is computed anew for its gradient."""
    best: Tensor = checkpoint(_largest_similarities, x, y, bandwidth, use_reentrant=False, preserve_rng_state=False)
    return best


def _largest_similarities(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    distances = ((1 - x.t() @ y) / 2).clamp(min=0)
    relative = distances / (distances.amin(1, keepdim=True) + EPSILON)
    return (-relative / bandwidth).softmax(1).amax(0)
