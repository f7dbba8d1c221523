"""Muon for a convolutional network: torch's for kernels, as matrices, and AdamW for everything else."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def as_matrix(kernel: Tensor, values: Tensor) -> Tensor:
    """`values` of the shape of a kernel [out, in, kh, kw] as a matrix: of the kernel itself a view, not a copy.

    The columns go as the kernel lies in memory; to orthogonalize a matrix their order is the same.
    """
    if kernel.ndim == 4 and not kernel.is_contiguous():  # NHWC
        values = values.permute(0, 2, 3, 1)
    return values.flatten(1)


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for kernels [out, in, kh, kw] as matrices [out, in*kh*kw], AdamW for the rest.

    Parameters
    ----------
    kernels, rest : parameters of two and more dimensions, and all others
    lr : the rate of both; Muon's steps are scaled to AdamW's size (Liu et al. 2025) unless `adjust_lr_fn` differs
    weight_decay : of the kernels alone, taken from the weights
    betas, eps : AdamW's; Muon's own eps is torch's default
    arguments : further ones of torch.optim.Muon

    The parameters must lie on their device already, and stay there: a matrix is a view of its kernel.
    """

    def __init__(
        self,
        kernels: list[nn.Parameter],
        rest: list[nn.Parameter],
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        eps: float,
        **arguments: Any,
    ) -> None:
        super().__init__([{"params": kernels}, {"params": rest}], {"lr": lr})
        self.kernels = kernels
        matrices = [as_matrix(kernel, kernel.detach()) for kernel in kernels]
        arguments = {"adjust_lr_fn": "match_rms_adamw", **arguments}
        self.muon = torch.optim.Muon([{"params": matrices}], lr=lr, weight_decay=weight_decay, **arguments)
        self.adamw = torch.optim.AdamW([{"params": rest}], lr=lr, betas=betas, eps=eps, weight_decay=0.0, fused=True)

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step of both at the rates of the two groups; kernels without a gradient stay as they are."""
        if closure is not None:
            raise ValueError("a closure cannot be given: the gradients are taken as they are")
        for matrix, kernel in zip(self.muon.param_groups[0]["params"], self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else as_matrix(kernel, kernel.grad)
        for optimizer, group in zip((self.muon, self.adamw), self.param_groups, strict=True):
            optimizer.param_groups[0]["lr"] = group["lr"]
            optimizer.step()
        for matrix in self.muon.param_groups[0]["params"]:
            matrix.grad = None  # else the kernels' gradients would live until the next step

    def state_dict(self) -> dict[str, Any]:
        """The state dicts of both."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over both states; the settings stay those of the constructor."""
        for name, optimizer in (("muon", self.muon), ("adamw", self.adamw)):
            own = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
            optimizer.load_state_dict(state_dict[name])
            optimizer.param_groups[0].update(own)
