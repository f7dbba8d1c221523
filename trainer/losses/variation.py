"""Total variation: a penalty on differences between neighbouring pixels."""

from dataclasses import dataclass

from torch import Tensor

from trainer.losses.weight import check_weight


@dataclass(frozen=True, kw_only=True, slots=True)
class TotalVariation:
    """Anisotropic total variation (Rudin, Osher and Fatemi 1992, with |dx| + |dy| for the gradient's length)."""

    weight: float = 1e-4
    """The term's factor in the objective; the guide's `tv_weight`."""

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def __call__(self, result: Tensor) -> Tensor:
        """mean |dH| + mean |dW| of float [B, C, H, W] with H, W > 1, unweighted, a scalar: means, as in the guide."""
        return result.diff(dim=-2).abs().mean() + result.diff(dim=-1).abs().mean()
