"""VGG19 with random weights, which costs as much as the trained one: for benchmarks, which have no network."""

import torch
from torch import Tensor

from trainer.losses.vgg import STAGES


def random_vgg(width: int) -> dict[str, Tensor]:
    """VGG19's tensors with random values, `width` of the usual 64 channels in its first stage."""
    tensors, inputs, number = {}, 3, 0
    for stage, convolutions in enumerate(STAGES):
        outputs = width * min(2**stage, 8)
        for _ in range(convolutions):
            tensors[f"features.{number}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
            tensors[f"features.{number}.bias"] = torch.zeros(outputs)
            inputs, number = outputs, number + 2  # an activation follows each
        number += 1  # and a pooling each stage
    return tensors
