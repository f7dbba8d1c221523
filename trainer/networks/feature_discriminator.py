"""Discriminator on a frozen pretrained backbone's features, by `adversarial.discriminator: {type: module, ...}`.

Its heads judge several levels, as in Projected GANs (Sauer et al. 2021, NeurIPS), without the random projections there,
spectrally normalised. The backbone is anything that answers [B, 3, H, W] with a list of feature maps: timm's DINO,
ConvNeXt and CLIP networks with `features_only=True`, or a module of one's own.
"""

import math
import zlib
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainer.dotted_path import advice, imported_name
from trainer.networks.layers.resampling import interpolated, resampled
from trainer.networks.layers.spectral_norm import SpectralConv2d

BACKBONE = "backbone."
CHECKSUM = "backbone_checksum"
SIDE = 256
"""Side, before it is made a multiple, of the picture from which the sizes of the levels are learnt."""


class FeatureDiscriminator(nn.Module):
    """Spectrally normalised heads over the features of a frozen backbone; answers with logits, float [B, N].

    Parameters
    ----------
    backbone : dotted path of a class or function that makes the backbone
    arguments : its arguments
    levels : indices of the feature maps that are judged; by default all. Each gives about equally many logits
    num_feat : channels of the heads
    multiple : pictures are enlarged to the next multiple of it: a transformer's patch, 14 for DINOv2
    fixed_idx : the bands that are shown as red, green and blue; [0, 0, 0] for gray pictures
    mean, std : the normalisation with which the backbone was trained; ImageNet's

    The backbone is in evaluation mode whatever the mode of the rest, and is not part of a state dict: the constructor
    makes it again. Its checksum is in the state dict. ValueError if it cannot be made or answers with no feature maps,
    or if a state dict belongs to another backbone.
    """

    takes_a_path: ClassVar[bool] = True
    """The backbone's: trust in this class, for a file from somebody else, would be trust in anything."""
    backbone_checksum: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str = "timm.create_model",
        arguments: dict[str, Any] | None = None,
        levels: tuple[int, ...] | None = None,
        num_feat: int = 64,
        multiple: int = 1,
        fixed_idx: tuple[int, int, int] = (0, 1, 2),
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        self.multiple, self.fixed_idx = multiple, list(fixed_idx)
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1), persistent=False)
        self.backbone = made_backbone(backbone, arguments or {})
        self.register_buffer(CHECKSUM, torch.tensor(checksum(self.backbone)))
        shapes = self._shapes(backbone)
        self.levels = list(range(len(shapes)) if levels is None else levels)
        if not self.levels or not all(0 <= level < len(shapes) for level in self.levels):
            raise ValueError(f"levels: got {self.levels}; {backbone} gives {len(shapes)} feature maps, from 0 on")
        smallest = min(shapes[level][1] for level in self.levels)
        self.heads = nn.ModuleList(
            head(channels, num_feat, halvings=round(math.log2(side / smallest)))
            for channels, side in (shapes[level] for level in self.levels)
        )
        self.register_state_dict_post_hook(without_backbone)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(with_own_backbone)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> "FeatureDiscriminator":
        """Set the mode of the heads; the backbone's is evaluation."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, N] of pictures [B, C, H, W] in [0, 1]."""
        maps = self._features(x)
        logits = [head(maps[level]).flatten(1) for head, level in zip(self.heads, self.levels, strict=True)]
        return torch.cat(logits, dim=1)

    def _features(self, x: Tensor) -> Any:
        x = (x[:, self.fixed_idx] - self.mean) / self.std
        height, width = (-(-side // self.multiple) * self.multiple for side in x.shape[-2:])
        if (height, width) != tuple(x.shape[-2:]):
            x = resampled(x, (height, width), interpolated)
        return self.backbone(x)

    def _shapes(self, name: str) -> list[tuple[int, int]]:
        """Channels and side of each feature map."""
        with torch.no_grad():
            maps = self._features(torch.zeros(1, 1 + max(self.fixed_idx), SIDE, SIDE))
        if not isinstance(maps, list | tuple) or not all(isinstance(one, Tensor) and one.ndim == 4 for one in maps):
            raise ValueError(
                f"{name} answers with no list of feature maps [B, C, h, w]; timm's need features_only=True"
            )
        return [(one.shape[1], one.shape[2]) for one in maps]


def made_backbone(path: str, arguments: dict[str, Any]) -> nn.Module:
    """A frozen module from a class or function; ValueError if it cannot be made."""
    make = imported_name(path)
    try:
        net = make(**arguments)
    except Exception as error:  # whatever somebody else's constructor raises, a download included
        reason = f"{type(error).__name__}: {error}{advice(error)}"
        raise ValueError(f"backbone: {path} refuses {arguments}: {reason}") from error
    if not isinstance(net, nn.Module):
        raise ValueError(f"backbone: {path} makes a {type(net).__name__}; must be a torch.nn.Module")
    return net.eval().requires_grad_(False)


def head(channels: int, num_feat: int, halvings: int) -> nn.Sequential:
    """[B, channels, h, w] to [B, 1, h / 2^halvings, w / 2^halvings]."""
    layers: list[nn.Module] = [SpectralConv2d(channels, num_feat, 1), nn.LeakyReLU(0.2)]
    for _ in range(halvings):
        layers += [SpectralConv2d(num_feat, num_feat, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(
        *layers, SpectralConv2d(num_feat, num_feat, 3, padding=1), nn.LeakyReLU(0.2), SpectralConv2d(num_feat, 1, 1)
    )


def checksum(net: nn.Module) -> int:
    """CRC-32 of the tensors of a state dict."""
    total = 0
    for tensor in net.state_dict().values():
        total = zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), total)
    return total


def without_backbone(_net: nn.Module, state: dict[str, Any], prefix: str, _local: dict[str, Any]) -> None:
    """State-dict hook: leave out the backbone, which is hundreds of MB in every checkpoint."""
    for name in [name for name in state if name.startswith(prefix + BACKBONE)]:
        del state[name]


def with_own_backbone(net: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Hook before loading: the backbone stays as the constructor made it; ValueError if the heads learnt on another."""
    found = state.get(prefix + CHECKSUM)
    if found is not None and int(found) != int(net.get_buffer(CHECKSUM)):
        raise ValueError(
            "the discriminator's heads learnt on another backbone: its weights have another checksum, "
            f"{int(found):08x} and not {int(net.get_buffer(CHECKSUM)):08x}"
        )
    for name, tensor in net.get_submodule(BACKBONE[:-1]).state_dict().items():
        state[prefix + BACKBONE + name] = tensor
