"""Features of AlexNet, VGG16 and SqueezeNet 1.1 under torchvision's names, for the learned distances."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.losses.pretrained import OfficialFile, located, located_official, tensors_of
from trainer.mistakes import Mistake

Backbone = Literal["alex", "vgg", "squeeze"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network's convolutional part, its taps, and the file of its official weights."""

    title: str
    official: OfficialFile
    layers: Callable[[], list[nn.Module]]
    taps: tuple[int, ...]
    """The layers, by number, whose outputs are the features."""
    least: int
    """The least side of a picture that it takes."""


class Fire(nn.Module):
    """SqueezeNet's module (Iandola et al. 2016): squeezed to `few` channels, expanded to 2 x `many`."""

    def __init__(self, inputs: int, few: int, many: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, few, 1)
        self.expand1x1 = nn.Conv2d(few, many, 1)
        self.expand3x3 = nn.Conv2d(few, many, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, 2 * many, H, W]."""
        squeezed = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(squeezed).relu(), self.expand3x3(squeezed).relu()], 1)


def _alexnet() -> list[nn.Module]:
    """Krizhevsky 2014, "One weird trick", as far as the last activation."""
    sizes = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
    layers: list[nn.Module] = []
    for number, size in enumerate(sizes):
        layers += [nn.Conv2d(*size), nn.ReLU(), *([nn.MaxPool2d(3, 2)] if number < 2 else [])]
    return layers


def _vgg16() -> list[nn.Module]:
    """Simonyan and Zisserman 2015, configuration D, as far as relu5_3."""
    layers: list[nn.Module] = []
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers += [nn.MaxPool2d(2)] if layers else []
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
    return layers


def _squeezenet() -> list[nn.Module]:
    """SqueezeNet 1.1."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    first = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool()]
    second = [Fire(128, 32, 128), Fire(256, 32, 128), pool(), Fire(256, 48, 192), Fire(384, 48, 192)]
    return [*first, *second, Fire(384, 64, 256), Fire(512, 64, 256)]


ARCHITECTURES: dict[str, Architecture] = {
    "alex": Architecture("AlexNet", OfficialFile("alexnet-owt-7be5be79.pth", "233 MB"), _alexnet, (1, 4, 7, 9, 11), 31),
    "vgg": Architecture("VGG16", OfficialFile("vgg16-397923af.pth", "528 MB"), _vgg16, (3, 8, 15, 22, 29), 16),
    "squeeze": Architecture(
        "SqueezeNet 1.1",
        OfficialFile("squeezenet1_1-b8a52dc0.pth", "5 MB"),
        _squeezenet,
        (1, 4, 7, 9, 10, 11, 12),
        17,
    ),
}
"""By LPIPS's names. The checksums in the files' names are those of torchvision's weights IMAGENET1K_V1."""


class Features(nn.Module):
    """The convolutional part of an architecture, frozen, with given weights; `pools` may take the place of poolings."""

    def __init__(
        self, kind: Backbone, tensors: Mapping[str, Tensor], pool: Callable[[int], nn.Module] | None = None
    ) -> None:
        super().__init__()
        architecture = ARCHITECTURES[kind]
        self.taps = frozenset(architecture.taps)
        layers = architecture.layers()
        self.features = nn.Sequential(*layers)
        self.load_state_dict({name: tensors[name].float() for name in self.state_dict()})
        width = 3
        for number, layer in enumerate(layers):
            width = layer.out_channels if isinstance(layer, nn.Conv2d) else width
            if pool and isinstance(layer, nn.MaxPool2d):
                self.features[number] = pool(width)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The outputs at the taps for float [B, 3, H, W], normalised as the caller's distance wants it."""
        found = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taps:
                found.append(x)
        return found


def is_official(kind: Backbone, origin: str | None) -> bool:
    """True if torchvision's own weights are asked for, which `read_backbone` verifies."""
    return ARCHITECTURES[kind].official.is_meant_by(origin)


def read_backbone(kind: Backbone, origin: str | None, key: str, download: bool) -> dict[str, Tensor]:
    """The tensors of a network's convolutional part: of torchvision's file, another file or a hub repository.

    `origin` is null for torchvision's. With `download` the network may be asked, which one process does before the
    others. Raises Mistake, naming `key`.weights, where there are no such weights.
    """
    key, architecture = f"{key}.weights", ARCHITECTURES[kind]
    official = architecture.official
    if official.is_meant_by(origin):
        path = located_official(official, origin, key, download)
    else:
        assert origin is not None, "null means the official file"
        path = located(origin, key, download, official.advice())
    tensors = tensors_of(path, key)
    with torch.device("meta"):
        empty = nn.Sequential(*architecture.layers()).state_dict()
    shapes = {f"features.{name}": value.shape for name, value in empty.items()}
    for name, shape in shapes.items():
        other = f"{key}: {origin or path} holds no {architecture.title}"
        if name not in tensors:
            raise Mistake(f"{other}: it lacks {name}. {official.advice()}")
        if tensors[name].shape != shape:
            raise Mistake(f"{other}: {name} is {list(tensors[name].shape)}, not {list(shape)}.")
    return {name: tensors[name] for name in shapes}
