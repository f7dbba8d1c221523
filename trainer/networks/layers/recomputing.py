"""Gradient checkpointing: the repeated blocks of a network are computed again in the backward pass, and not stored."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

LEAST = 2  # blocks that make a repetition


def recompute(net: nn.Module) -> int:
    """Let the repeated blocks of `net` be computed again (Chen et al. 2016); returns their number.

    State-dict names stay; evaluation and passes without gradients are as before. Gradients are the same, as keyed masks
    and torch's generators are.
    """
    found = list(repeated_blocks(net))
    for block in found:
        block.gradient_checkpointing = True  # type: ignore[assignment]
        block.forward = partial(_forward, block, block.forward)
    return len(found)


def keep(net: nn.Module) -> None:
    """Undo `recompute`."""
    for block in net.modules():
        if block.__dict__.pop("gradient_checkpointing", False):
            del block.forward


def repeated_blocks(net: nn.Module) -> Iterator[nn.Module]:
    """The blocks that `net` repeats: those of its `_repeated_blocks`, else the outermost of one class in a row.

    Not those with a BatchNorm that keeps statistics, which would see each batch twice.
    """
    names = getattr(net, "_repeated_blocks", None)
    candidates = (part for part in net.modules() if type(part).__name__ in names) if names else _in_a_row(net)
    for block in candidates:
        if not any(isinstance(part, _BatchNorm) and part.track_running_stats for part in block.modules()):
            yield block


def _in_a_row(net: nn.Module) -> Iterator[nn.Module]:
    """Blocks of a class that a ModuleList or Sequential has several of, and that hold layers of their own."""
    if isinstance(net, nn.ModuleList | nn.Sequential):
        kinds = [type(part) for part in net if any(True for _ in part.children())]
        many = {kind for kind in kinds if kinds.count(kind) >= LEAST}
        for part in net:
            if type(part) in many:
                yield part
            else:
                yield from _in_a_row(part)
        return
    for part in net.children():
        yield from _in_a_row(part)


def _forward(block: nn.Module, forward: Any, *inputs: Any, **options: Any) -> Any:
    if block.training and torch.is_grad_enabled():
        return checkpoint(forward, *inputs, use_reentrant=False, **options)
    return forward(*inputs, **options)
