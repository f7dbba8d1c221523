"""torch.compile, in place: the names in state dicts stay as they are, and the smoothed copy runs as plain PyTorch."""

from contextlib import AbstractContextManager
from functools import partial

import torch
from diffusers.configuration_utils import ConfigMixin
from torch import nn

from trainer.mistakes import Mistake

COST = (
    "compile: the first step of each phase waits while its networks are compiled, which may take minutes; a later "
    "start finds most of it done"
)


def compile_in_place(net: nn.Module, backend: str = "inductor") -> None:
    """Compile the blocks that `net` repeats, once for them all (`_repeated_blocks`, as diffusers has it), or all of it.

    Of ours what follows the blocks too, the method `behind`: half of a generator's traffic is there, at full size.

    Shapes are fixed, as patches and micro-batches are in a run: else the discriminator, which judges a batch in the
    generator's step and two in its own, would be compiled for any number of pictures. Each way of running a network
    (with gradients, frozen, without) is compiled when it first comes, and kept.
    """
    if isinstance(net, ConfigMixin):
        net.to_json_string()  # adds to the configuration what a save would: dynamo compiles again where it changes
    repeated = getattr(net, "_repeated_blocks", None) or ()
    blocks = [part for part in net.modules() if type(part).__name__ in repeated]
    # DDP's buckets would cut each block in two, to send gradients earlier; blocks are small enough for that
    torch._dynamo.config.optimize_ddp = False
    for part in blocks or [net]:
        part.compile(dynamic=False, backend=backend)
    if blocks and (behind := getattr(type(net), "behind", None)):
        # partial, and no bound method: a deep copy's is then of the copy
        setattr(net, "behind", partial(torch.compile(behind, dynamic=False, backend=backend), net))  # noqa: B010


def check_compiler(device: torch.device) -> None:
    """Compile one multiplication; Mistake where that fails: without a C++ compiler, or Python's headers on a GPU."""
    try:
        torch.compile(lambda x: 2 * x + 1, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # dynamo's, inductor's, Triton's and the compiler's own
        reason = str(error).strip().split("\n", 1)[0]
        raise Mistake(f"compile: got true, but torch.compile does not work here: {reason}.") from error


def uncompiled() -> AbstractContextManager[object]:
    """Run compiled networks as plain PyTorch: what is compiled cannot be differentiated twice, as for R1."""
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
