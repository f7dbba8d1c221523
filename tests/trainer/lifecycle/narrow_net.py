"""A network for which memory is short above so many pictures at a time, as a GPU says it."""

import torch
from torch import Tensor, nn

print("loud")  # which a trial must not take for its answer


class Narrow(nn.Module):
    """Enlarges 4 times by one convolution; torch.OutOfMemoryError for more than `most` pictures in training."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.conv = most, nn.Conv2d(3, 48, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return nn.functional.pixel_shuffle(self.conv(x), 4)
