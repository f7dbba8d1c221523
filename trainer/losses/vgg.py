"""VGG19's convolutional part under torchvision's names, and the loading of its weights."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from trainer.losses.pretrained import located, tensors_of
from trainer.losses.three_bands import FixedIdx, three_bands
from trainer.mistakes import Mistake

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAGES = (2, 2, 4, 4, 4)  # convolutions before each pooling (Simonyan and Zisserman 2015, configuration E)


def _names() -> tuple[str, ...]:
    found: list[str] = []
    for stage, convolutions in enumerate(STAGES, 1):
        for number in range(1, convolutions + 1):
            found += [f"conv{stage}_{number}", f"relu{stage}_{number}"]
        found.append(f"pool{stage}")
    return tuple(found)


LAYER_NAMES = _names()
"""The layer `features.N` of torchvision is `LAYER_NAMES[N]`: convI_J before its activation, reluI_J after it, poolI."""


class VGG19Features(nn.Module):
    """VGG19 as far as the deepest of some layers; frozen, with the widths of the tensors it is given.

    Args:
        tensors: at least the `features.N.weight` and `features.N.bias` up to there; the rest is ignored.
        layers: names out of `LAYER_NAMES`, at least one.

    KeyError if a tensor is missing, which `read_vgg` checks before.
    """

    def __init__(self, tensors: dict[str, Tensor], layers: Collection[str]) -> None:
        super().__init__()
        self.layers = frozenset(layers)
        made: list[nn.Module] = []
        for number, name in enumerate(LAYER_NAMES[: _deepest(layers) + 1]):
            if name.startswith("conv"):
                outputs, inputs = tensors[f"features.{number}.weight"].shape[:2]
                made.append(nn.Conv2d(inputs, outputs, 3, padding=1, device="meta"))  # weights come below
            else:
                made.append(nn.ReLU() if name.startswith("relu") else nn.MaxPool2d(2))
        self.features = nn.Sequential(*made)
        self.load_state_dict({name: tensors[name] for name in self.state_dict()}, assign=True)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The features of `x`, float [B, 3, H, W], at each layer asked for, by name."""
        found = {}
        for name, layer in zip(LAYER_NAMES, self.features, strict=False):
            x = layer(x)
            if name in self.layers:
                found[name] = x
        return found


class SeenByVGG(nn.Module):
    """VGG19's features of pictures in [0, 1], of which three bands are taken and normalised as it was trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, vgg: VGG19Features, fixed_idx: FixedIdx, use_input_norm: bool) -> None:
        super().__init__()
        self.vgg, self.fixed_idx, self.use_input_norm = vgg, fixed_idx, use_input_norm
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """The features of float [B, C, H, W] at each layer of the network's, by name, as float32."""
        normalised = three_bands(pictures, self.fixed_idx)
        if self.use_input_norm:
            normalised = (normalised - self.mean) / self.std
        return {name: features.float() for name, features in self.vgg(normalised).items()}


def _deepest(layers: Collection[str]) -> int:
    return max(LAYER_NAMES.index(name) for name in layers)


def read_vgg(origin: str, layers: Collection[str], key: str, download: bool) -> dict[str, Tensor]:
    """The tensors of VGG19 up to the deepest of `layers`, from a file or a hub repository.

    With `download` the hub may be asked, which one process does before the others; without, what it left in the cache
    must do. Raises Mistake, naming keys under the configuration `key`, if there are no such weights, or not enough.
    """
    tensors = tensors_of(located(origin, f"{key}.weights", download, HOW), f"{key}.weights")
    convolutions = [
        number for number, name in enumerate(LAYER_NAMES[: _deepest(layers) + 1]) if name.startswith("conv")
    ]
    wanted = {f"features.{number}.{part}" for number in convolutions for part in ("weight", "bias")}
    if wanted <= tensors.keys():
        return {name: tensors[name] for name in wanted}
    present = next((n for n, number in enumerate(convolutions) if f"features.{number}.weight" not in tensors), 0)
    if not present:
        raise Mistake(f"{key}.weights: {origin} holds no VGG19: it lacks features.0.weight. {HOW}")
    last = convolutions[present - 1]
    lacking = ", ".join(name for name in LAYER_NAMES if name in layers and LAYER_NAMES.index(name) > last + 1)
    raise Mistake(
        f"{key}.layer_weights: {origin} ends at {LAYER_NAMES[last]} and so lacks {lacking}; "
        f"leave these layers out, or give the whole of VGG19 as {key}.weights."
    )


HOW = (
    "Wanted is torchvision's VGG19: the hub id timm/vgg19.tv_in1k, or the file "
    "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth (548 MB), downloaded beforehand where there is no network."
)
