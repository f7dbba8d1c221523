"""Memory formats of weights: NHWC, in which GPUs' convolutions compute, or PyTorch's NCHW."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def move(module: nn.Module, device: torch.device, layout: torch.memory_format) -> None:
    """Move `module` to `device` in place, its tensors [A, B, C, D] to a memory format; values and names stay."""
    for tensor in (*module.parameters(), *module.buffers()):  # not by `module.to`, which fake tensors refuse
        moved = tensor.data.to(device)
        tensor.data = moved.contiguous(memory_format=layout) if moved.ndim == 4 else moved


def lay_out_state(optimizer: Optimizer) -> None:
    """Give what an optimizer keeps for each parameter the strides of the parameter.

    A saved state may have others, of an earlier version or another layout. Fused optimizers go through memory: they
    would pair the wrong elements, without a word on a CPU.
    """
    for parameter, state in optimizer.state.items():
        if not isinstance(state, dict):  # some keep a count beside the parameters
            continue
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
