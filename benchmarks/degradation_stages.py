"""The two-order degradation stage by stage, as `apply` of the reference and of the fused kernels does it.

Corresponding stages have the same name, so that both sides can be compared stage by stage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from degradations import Purpose, SecondOrder
from degradations.operations.blur import blur
from degradations.second_order import SecondOrderRecipe, _apply_to_chosen

if TYPE_CHECKING:
    from degradations.fused.canvas import Canvas  # needs Triton

Images = list[Tensor]


def reference_stages(config: SecondOrder, r: SecondOrderRecipe) -> list[tuple[str, Callable[[Images], Images]]]:
    """`SecondOrder.apply` up to its last rounding: images float32 [C, H, W] in [0, 1]; a recipe on the CPU."""
    _, resize1, noise1, jpeg1 = config.first()
    _, resize2, noise2, jpeg2, _ = config.second()
    return [
        ("blur 1", lambda x: blur(x, r.blur1)),
        ("resize 1", lambda x: resize1.apply(x, r.resize1)),
        ("noise 1", lambda x: noise1.apply(x, r.noise1, r.keys, Purpose.NOISE_1_FIELD)),
        ("JPEG 1", lambda x: jpeg1.apply(x, r.jpeg1)),
        ("blur 2", lambda x: blur(x, r.blur2)),
        ("resize 2", lambda x: resize2.apply(x, r.resize2)),
        ("noise 2", lambda x: noise2.apply(x, r.noise2, r.keys, Purpose.NOISE_2_FIELD)),
        ("JPEG 2", lambda x: _apply_to_chosen(~r.jpeg_last, x, r.jpeg2, jpeg2.apply)),
        ("resize 3", lambda x: resize2.apply(x, r.resize3)),
        ("sinc", lambda x: blur(x, r.sinc)),
        ("JPEG 2", lambda x: _apply_to_chosen(r.jpeg_last, x, r.jpeg2, jpeg2.apply)),
    ]


def fused_stages(config: SecondOrder, r: SecondOrderRecipe) -> list[tuple[str, Callable[[Canvas], Canvas]]]:
    """`fused.second_order.apply` of a canvas; a recipe on the device. Noise and JPEG 2 change theirs."""
    from degradations.fused.blur import blur
    from degradations.fused.jpeg import jpeg
    from degradations.fused.noise import add_noise
    from degradations.fused.resize import resize
    from degradations.fused.second_order import _largest_size

    lq = r.lq_size
    size1, size2 = _largest_size(r.height, r.width, config.resize_range[1]), _largest_size(*lq, config.resize_range2[1])
    steps = (1 / r.resize1.scale).float() if config.resize == "realesrgan" else None
    n1, n2 = ((n.kind, n.strength, n.gray, r.keys) for n in (r.noise1, r.noise2))
    return [
        ("blur 1", lambda x: blur(x, r.blur1, whole=x.pixels.dtype == torch.uint8)),
        ("resize 1", lambda x: resize(x, r.resize1.size, r.resize1.mode, size1, steps)),
        ("noise 1", lambda x: add_noise(x, *n1, Purpose.NOISE_1_FIELD)),
        ("JPEG 1", lambda x: jpeg(x, r.jpeg1.quality)),
        ("blur 2", lambda x: blur(x, r.blur2, whole=True)),
        ("resize 2", lambda x: resize(x, r.resize2.size, r.resize2.mode, size2)),
        ("noise 2", lambda x: add_noise(x, *n2, Purpose.NOISE_2_FIELD)),
        ("JPEG 2", lambda x: jpeg(x, r.jpeg2.quality, ~r.jpeg_last)),
        ("resize 3", lambda x: resize(x, r.resize3.size, r.resize3.mode, lq)),
        ("sinc", lambda x: blur(x, r.sinc)),
        ("JPEG 2", lambda x: jpeg(x, r.jpeg2.quality, r.jpeg_last)),
    ]
