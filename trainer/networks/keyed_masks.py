"""Keyed masks of Dropout and stochastic depth: a function of the seed and of each sample's place in the run.

So a sample is masked alike for any number of ranks, size of micro-batches and accumulation, after a resume, and when a
checkpointed block is computed again.
"""

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from degradations.keyed_random import Keys, uniform_table, uniforms

FIRST_PURPOSE = 64  # those below belong to `degradations`
MOST_CALLS = 4
"""Calls of a module in one pass that have masks of their own, as two in a transformer's block: a draw gives as many."""
TRIAL = 4096
"""Rows of the trial of a module: enough that a rate of 0.003 drops one."""
DROPOUTS: dict[type[nn.Module], int] = {nn.Dropout: 0, nn.Dropout1d: 1, nn.Dropout2d: 2, nn.Dropout3d: 3}
"""Dropouts, and how many of the last axes they drop as one; 0 drops single numbers."""
PATHS = ("DropPath", "StochasticDepth")
"""Parts of the names of classes that drop whole samples (Huang et al. 2016): timm's, torchvision's, and copies."""


class KeyedMasks:
    """The masks of one network in training; call `place` before each of its forward passes.

    Parameters
    ----------
    net : its Dropouts and modules of stochastic depth get a hook that replaces their output
    seed, name : the run's seed and the network's name, parts of the key

    A module that a pass calls several times has a mask for each call. One that drops samples is taken for one if it
    does so in a trial; what else draws, such as the dropout in `nn.MultiheadAttention`, stays with torch's generator.
    """

    def __init__(self, net: nn.Module, seed: int, name: str) -> None:
        digest = hashlib.sha256(f"{seed} {name} masks".encode()).digest()
        self.seed = int.from_bytes(digest[:8], "big")
        self.is_paired = name == "discriminator"
        self.places: Tensor | None = None
        self.paths: Tensor | None = None
        self.calls: list[int] = []
        """Calls of each hooked module in the pass, or since it: a block that is computed again begins anew."""
        self.count_of_paths = 0
        for module in list(net.modules()):
            number = len(self.calls)
            if type(module) in DROPOUTS and getattr(module, "p", 0) > 0:
                module.inplace = False  # type: ignore[assignment]  # the hook needs the input
                module.register_forward_hook(partial(self._drop, number, DROPOUTS[type(module)]))
                self.calls.append(0)
            elif (found := stochastic_depth(module)) is not None:
                module.register_forward_hook(partial(self._skip, number, self.count_of_paths, *found))
                self.calls.append(0)
                self.count_of_paths += 1
        self.count = len(self.calls)
        if self.count:
            net.register_forward_pre_hook(self._begin)
            net.register_forward_hook(self._begin)

    def place(self, places: Tensor) -> None:
        """Take int64 [b], the places of the next forward passes' samples, on its device."""
        self.places = places
        if self.count_of_paths:  # all at once: a kernel for each would be a launch of its own, or a break in a graph
            purposes = range(FIRST_PURPOSE, FIRST_PURPOSE + self.count_of_paths)
            self.paths = uniform_table(Keys(self.seed, places), purposes, MOST_CALLS)

    def _begin(self, *_: Any) -> None:
        self.calls = [0] * self.count

    def _called(self, number: int) -> int:
        """The number of this call of a module, from 0; beyond the most they are those of earlier calls."""
        call = self.calls[number]
        self.calls[number] = call + 1
        return call % MOST_CALLS

    def _skip(
        self, number: int, path: int, keep: float, factor: float, module: nn.Module, args: Any, out: Tensor
    ) -> Tensor:
        """Hook of stochastic depth: samples whose number is not below `keep` become 0, others `factor` of theirs."""
        if not module.training or self.paths is None or not args:
            return out
        x: Tensor = args[0]
        mask = (self._for_rows(self.paths[path, :, self._called(number)], len(x)) < keep).to(x.dtype) * factor
        return x * mask.view(-1, *[1] * (x.ndim - 1))

    def _drop(self, number: int, together: int, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Hook of Dropout: each number, or each channel, has a draw of its own."""
        if not module.training or self.places is None or not args:
            return out
        x: Tensor = args[0]
        shape = (*x.shape[: x.ndim - together], *[1] * together)
        rows = len(x)
        if rows % len(self.places):
            return out
        drawn = self._drawn(number * MOST_CALLS + self._called(number), torch.Size(shape).numel() // len(self.places))
        if self._holds_pairs(rows):  # [b, 2 k] to the order of the rows, which is real pictures, then results
            drawn = drawn.view(len(self.places), 2, -1).transpose(0, 1)
        keep = 1.0 - float(getattr(module, "p", 0))
        return x * (drawn.reshape(shape) < keep).to(x.dtype).div_(keep) if keep else torch.zeros_like(x)

    @torch.compiler.disable
    def _drawn(self, number: int, count: int) -> Tensor:
        """float32 [b, count] for a call of a Dropout."""
        assert self.places is not None
        return uniforms(Keys(self.seed, self.places), FIRST_PURPOSE + number + (1 << 16), count)

    def _for_rows(self, drawn: Tensor, rows: int) -> Tensor:
        """Numbers [b] of samples for `rows` rows: windows of a sample share its own, a shorter batch has the first."""
        if rows <= len(drawn):
            return drawn[:rows]
        times = -(-rows // len(drawn))
        return (drawn.repeat(times) if self._holds_pairs(rows) else drawn.repeat_interleave(times))[:rows]

    def _holds_pairs(self, rows: int) -> bool:
        """True for a discriminator's batch of the real pictures of all places, then the results."""
        return self.is_paired and self.places is not None and rows == 2 * len(self.places)


def stochastic_depth(module: nn.Module) -> tuple[float, float] | None:
    """The share of samples that a module keeps, and the factor of those; None if it does not drop whole samples."""
    if not any(part in type(module).__name__ for part in PATHS) or list(module.children()):
        return None
    probability = getattr(module, "drop_prob", getattr(module, "p", 0)) or 0
    if not 0 < float(probability) < 1:
        return None
    training = module.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # or it would be taken for one on some ranks only
            rows = module.train()(torch.ones(TRIAL, 2))
    except Exception:  # whatever a module of somebody else's raises that wants another input
        return None
    finally:
        module.train(training)
    levels = rows[:, 0].unique().tolist() if rows.shape == (TRIAL, 2) else []
    if len(levels) != 2 or levels[0] != 0 or not torch.equal(rows[:, 0], rows[:, 1]):
        return None
    return 1 - float(probability), levels[1]


def other_randomness(net: nn.Module) -> Iterator[str]:
    """Names of the modules that are known to draw in training and have no keyed mask."""
    for name, module in net.named_modules():
        draws = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 and type(module) not in DROPOUTS
        draws |= isinstance(module, nn.MultiheadAttention) and module.dropout > 0
        draws |= bool(getattr(module, "drop_prob", 0)) and stochastic_depth(module) is None
        if draws:
            yield name
