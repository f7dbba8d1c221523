"""Blur kernels: Gaussian, generalised Gaussian and plateau (round or oriented), and the sinc low-pass filter.

A whole batch is built at once as float [B, K, K], each kernel centred and zero outside its own size, on the device of
the draws. Closed forms and draws are those of BasicSR (`basicsr/data/degradations.py`) and Real-ESRGAN
(`realesrgan/data/realesrgan_dataset.py`); with g = (x, y) in pixels and m = g^T S^-1 g, where
S = R(theta) diag(sigma_x^2, sigma_y^2) R(theta)^T:

    Gaussian     exp(-m / 2)
    generalised  exp(-m^beta / 2)                  (Liu et al. 2020, "Estimating generalized Gaussian blur kernels")
    plateau      1 / (1 + m^beta)
    sinc         omega J1(omega r) / (2 pi r), r = |g|   (circular low pass, cut-off omega in radians a pixel)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from degradations.checks import check_probability, check_range, check_weights
from degradations.constants import int64_constant, resident
from degradations.keyed_random import between, choose
from degradations.recipes import Recipe

FAMILIES = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
SINC, PULSE, GIVEN = 6, 7, 8  # kinds after the six families
SMALLEST = 7
_NAMES = ("iso", "aniso", "gen. iso", "gen. aniso", "plateau iso", "plateau aniso", "sinc")


@dataclass(frozen=True, slots=True)
class KernelRecipe(Recipe):
    """Blur kernels of a batch and their parameters.

    Args:
        kernel: float32 [B, K, K], K odd, sum 1. The only field that `blur` reads.
        kind: int64 [B], index into `FAMILIES`, or `SINC`, `PULSE` (no blur) or `GIVEN` (not drawn here).
        size: int64 [B], odd, at most K.
        sigma_x, sigma_y: float32 [B], pixels. theta: float32 [B], radians.
        beta: float32 [B], shape of generalised and plateau kernels.
        omega: float32 [B], cut-off of sinc kernels, radians a pixel.
    """

    kernel: Tensor
    kind: Tensor
    size: Tensor
    sigma_x: Tensor
    sigma_y: Tensor
    theta: Tensor
    beta: Tensor
    omega: Tensor

    def with_kernel(self, kernel: Tensor, *, keep_pulses: bool = False) -> KernelRecipe:
        """This recipe with other kernels, float32 [B, K, K]; with `keep_pulses` only where there is a blur."""
        nothing = torch.zeros_like(self.sigma_x)
        kind = torch.full_like(self.kind, GIVEN)
        return KernelRecipe(
            kernel=kernel.to(self.kernel),
            kind=torch.where(self.kind == PULSE, self.kind, kind) if keep_pulses else kind,
            size=torch.full_like(self.size, kernel.shape[-1]),
            sigma_x=nothing,
            sigma_y=nothing,
            theta=nothing,
            beta=nothing,
            omega=nothing,
        )

    def describe(self, i: int) -> str:
        """Sample `i` in words; empty if there is no blur."""
        kind = int(self.kind[i])
        if kind == PULSE:
            return ""
        if kind == GIVEN:
            return f"blur {int(self.size[i])} given"
        text = f"blur {int(self.size[i])} {_NAMES[kind]} "
        if kind == SINC:
            return text + f"ω{float(self.omega[i]) / math.pi:.2f}π"
        text += f"σ{float(self.sigma_x[i]):.1f}"
        if kind % 2:
            text += f"/{float(self.sigma_y[i]):.1f}"
        return text + (f" β{float(self.beta[i]):.1f}" if kind > 1 else "")


@lru_cache(maxsize=8)
def _radii_and_angles(canvas: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct radii [R], the index of each pixel's radius [canvas, canvas], and sines of quadrature angles [Q]."""
    axis = [(i - canvas // 2) ** 2 for i in range(canvas)]
    squares = sorted({a + b for a in axis for b in axis})
    place = {square: i for i, square in enumerate(squares)}
    radii = torch.tensor(squares, dtype=torch.float64).sqrt().to(dtype)
    index = torch.tensor([[place[a + b] for b in axis] for a in axis])
    count = 13 + math.ceil(math.pi * math.sqrt(squares[-1]) / 4)
    angles = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / 2 / count)
    sines = angles.sin().to(dtype)
    radii, index, sines = (resident(table, device) for table in (radii, index, sines))
    return radii, index, sines


def _low_pass_filters(omega: Tensor, canvas: int) -> Tensor:
    """Circular low-pass filters [B, canvas, canvas] of cut-offs [B, 1, 1], up to pi, before normalisation.

    J1(z) is the mean of sin(t) sin(z sin(t)) over a quarter of the period, and the midpoint rule is exact to rounding
    once it has more than about z / 4 + 9 points. (`torch.special.bessel_j1` is off by 5e-7 near z = 5, even in
    float64.) Radii repeat: a 21 x 21 kernel has 66.
    """
    radii, index, sines = _radii_and_angles(canvas, omega.device, omega.dtype)
    # not a matrix product, whose order of summation depends on the batch
    bessel = (torch.sin(omega * (radii[:, None] * sines)) * sines).mean(-1)
    omega = omega[:, :, 0]
    profile = torch.cat([omega**2 / (4 * math.pi), omega * bessel[:, 1:] / (2 * math.pi * radii[1:])], dim=1)
    return profile[:, index]


def build_kernels(
    kind: Tensor,
    size: Tensor,
    sigma_x: Tensor,
    sigma_y: Tensor,
    theta: Tensor,
    beta: Tensor,
    omega: Tensor,
    *,
    canvas: int,
) -> Tensor:
    """Kernels [B, canvas, canvas] in the dtype of `sigma_x`; arguments as in `KernelRecipe`, all [B].

    In the round families `sigma_y` and `theta` are ignored, as upstream.
    """
    kind, size, sigma_x, sigma_y, theta, beta, omega = (
        values[:, None, None] for values in (kind, size, sigma_x, sigma_y, theta, beta, omega)
    )
    axis = torch.arange(canvas, device=sigma_x.device, dtype=sigma_x.dtype) - canvas // 2
    x, y = axis[None, None, :], axis[None, :, None]
    oriented = (kind < SINC) & (kind % 2 == 1)
    sigma_y = torch.where(oriented, sigma_y, sigma_x)
    theta = torch.where(oriented, theta, 0.0)

    cos, sin = torch.cos(theta), torch.sin(theta)
    m = ((cos * x + sin * y) / sigma_x) ** 2 + ((cos * y - sin * x) / sigma_y) ** 2
    m = torch.where(kind < 2, m, m.pow(torch.where(kind < 2, 1.0, beta)))
    bell = torch.where(kind // 2 == 2, 1 / (1 + m), torch.exp(-m / 2))

    pulse = ((x == 0) & (y == 0)).to(m.dtype)
    values = torch.where(kind == SINC, _low_pass_filters(omega, canvas), torch.where(kind == PULSE, pulse, bell))
    inside = torch.maximum(x.abs(), y.abs()) <= size // 2
    values = torch.where(inside, values, 0.0)
    return values / values.sum((1, 2), keepdim=True)


def _draw_size(uniform: Tensor, canvas: int) -> Tensor:
    """Odd sizes from 7 to the canvas, equally likely."""
    count = (canvas - SMALLEST) // 2 + 1
    return SMALLEST + 2 * (uniform * count).floor().to(torch.int64)


def _check_canvas(name: str, size: int) -> None:
    if size < SMALLEST or size % 2 == 0:
        raise ValueError(f"{name} must be odd and at least {SMALLEST}, got {size}")


@dataclass(frozen=True, kw_only=True)  # no slots: a step of a pipeline inherits from this and from `Operation`
class BlurOptions:
    """Distribution of random blur kernels, as of either order of Real-ESRGAN (defaults: its first).

    Upstream reads `blur_kernel_size` and ignores it: its list of sizes ends at 21.
    """

    blur_kernel_size: int = 21
    """The largest kernel's side, pixels, odd; sizes 7, 9, ... up to it are equally likely."""
    kernel_list: tuple[str, ...] = FAMILIES
    """Families of kernels: iso, aniso, generalized_iso, generalized_aniso, plateau_iso, plateau_aniso."""
    kernel_prob: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    """The weight of each family in `kernel_list`."""
    sinc_prob: float = 0.1
    """Probability of a sinc kernel in place of a family."""
    blur_sigma: tuple[float, float] = (0.2, 3.0)
    """Standard deviation along each axis of a kernel, pixels."""
    betag_range: tuple[float, float] = (0.5, 4.0)
    """Shape of generalised kernels; half of the draws fall below 1, half above."""
    betap_range: tuple[float, float] = (1.0, 2.0)
    """Shape of plateau kernels; half of the draws fall below 1, half above."""

    def __post_init__(self) -> None:
        _check_canvas("blur_kernel_size", self.blur_kernel_size)
        unknown = [name for name in self.kernel_list if name not in FAMILIES]
        if unknown or not self.kernel_list:
            raise ValueError(f"kernel_list must name some of {', '.join(FAMILIES)}; got {self.kernel_list!r}")
        check_weights("kernel_prob", self.kernel_prob, len(self.kernel_list))
        check_probability("sinc_prob", self.sinc_prob)
        check_range("blur_sigma", self.blur_sigma, 1e-3, math.inf)
        for name, value in (("betag_range", self.betag_range), ("betap_range", self.betap_range)):
            check_range(name, value, 1e-3, math.inf)
            if not value[0] <= 1 <= value[1]:
                raise ValueError(f"{name} must contain 1 (half of the draws lie on each side), got {value!r}")

    def draw_kernels(self, u: Tensor, blur_prob: float = 1.0) -> KernelRecipe:
        """Kernels from uniform numbers, float32 [B, 10] or more columns in (0, 1); a pulse with 1 - `blur_prob`."""
        size = _draw_size(u[:, 0], self.blur_kernel_size)
        numbers = int64_constant(tuple(FAMILIES.index(name) for name in self.kernel_list), u.device)
        kind = numbers[choose(u[:, 2], self.kernel_prob)]
        plateau = kind // 2 == 2
        low = torch.where(plateau, self.betap_range[0], self.betag_range[0])
        high = torch.where(plateau, self.betap_range[1], self.betag_range[1])
        beta = torch.where(u[:, 6] < 0.5, between(u[:, 7], low, 1.0), between(u[:, 7], 1.0, high))
        lowest = torch.where(size < 13, math.pi / 3, math.pi / 5)
        kind = torch.where(u[:, 1] < self.sinc_prob, SINC, kind)
        kind = torch.where(u[:, 9] < blur_prob, kind, PULSE)
        return _build_recipe(
            kind,
            size,
            sigma_x=between(u[:, 3], *self.blur_sigma),
            sigma_y=between(u[:, 4], *self.blur_sigma),
            theta=between(u[:, 5], -math.pi, math.pi),
            beta=beta,
            omega=between(u[:, 8], lowest, math.pi),
            canvas=self.blur_kernel_size,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BlurKernels(BlurOptions):
    """Random blur kernels, or no blur.

    Args:
        blur_prob: probability of a kernel of `BlurOptions`; a pulse (no blur) otherwise.
    """

    blur_prob: float = 1.0

    def __post_init__(self) -> None:
        BlurOptions.__post_init__(self)
        check_probability("blur_prob", self.blur_prob)

    def draw(self, u: Tensor) -> KernelRecipe:
        """Kernels from uniform numbers, float32 [B, 10] or more columns in (0, 1)."""
        return self.draw_kernels(u, self.blur_prob)


@dataclass(frozen=True, kw_only=True, slots=True)
class SincKernels:
    """The final sinc filter of Real-ESRGAN: ringing and overshoot, or nothing.

    Args:
        final_sinc_prob: probability of a filter; a pulse (no filter) otherwise.
        blur_kernel_size: the largest kernel and the canvas, as in `BlurKernels`.
    """

    final_sinc_prob: float = 0.8
    blur_kernel_size: int = 21

    def __post_init__(self) -> None:
        check_probability("final_sinc_prob", self.final_sinc_prob)
        _check_canvas("blur_kernel_size", self.blur_kernel_size)

    def draw(self, u: Tensor) -> KernelRecipe:
        """Kernels from uniform numbers, float32 [B, 3] or more columns in (0, 1)."""
        one = torch.ones_like(u[:, 0])
        return _build_recipe(
            torch.where(u[:, 1] < self.final_sinc_prob, SINC, PULSE),
            _draw_size(u[:, 0], self.blur_kernel_size),
            sigma_x=one,
            sigma_y=one,
            theta=0 * one,
            beta=one,
            omega=between(u[:, 2], math.pi / 3, math.pi),
            canvas=self.blur_kernel_size,
        )


def _build_recipe(
    kind: Tensor,
    size: Tensor,
    *,
    sigma_x: Tensor,
    sigma_y: Tensor,
    theta: Tensor,
    beta: Tensor,
    omega: Tensor,
    canvas: int,
) -> KernelRecipe:
    kernel = build_kernels(kind, size, sigma_x, sigma_y, theta, beta, omega, canvas=canvas)
    return KernelRecipe(kernel, kind, size, sigma_x, sigma_y, theta, beta, omega)
