"""Colour and luma consistency: chroma in Oklab and lightness in CIELAB, averaged over squares of pixels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.full_precision import in_full_precision
from trainer.losses.three_bands import FixedIdx, bands_problem, three_bands
from trainer.losses.weight import check_weight

OKLAB_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
"""Linear sRGB to the responses of three cones (Ottosson 2020, "A perceptual color space for image processing")."""
OKLAB_CHROMA = ((1.9779984951, -2.4285922050, 0.4505937099), (0.0259040371, 0.7827717662, -0.8086757660))
"""Cube roots of the responses to a (green to red) and b (blue to yellow)."""
LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Linear sRGB to Y of CIE XYZ (ITU-R BT.709)."""
DARKEST = 1 / 255 / 12.92  # linear light of the lowest 8-bit level above black
CIE_KNEE = (6 / 29) ** 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Consistency:
    """Base class: weight, downscaling and bands."""

    weight: float = 1.0
    """The term's factor in the objective; 0 leaves it out. On a CPU 20 times the price of L1."""
    downscale: int = 4
    """Side of the squares of pixels that are averaged before they are compared, at most gt_size; 1 averages none."""
    fixed_idx: FixedIdx = None
    """Numbers, from 0, of the bands that are red, green and blue; required unless pictures have one band or three."""

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if self.downscale < 1:
            raise ValueError(f"downscale: got {self.downscale}; must be at least 1")

    def problem(self, bands: int, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` with `bands` channels cannot be compared, naming the key, or None."""
        if self.downscale > gt_size:
            return f"downscale: got {self.downscale}; must be at most gt_size {gt_size}"
        return bands_problem(bands, self.fixed_idx)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColourConsistency(_Consistency):
    """The mean of |a - a'| and |b - b'|, Oklab's chroma of sRGB pictures, averaged over squares of pixels.

    As the colour losses of traiNNer-redux and neosr: local colours stay, whatever texture does to single pixels. Below
    8-bit level 1 the cube root goes on as its tangent, so that black has a finite gradient.
    """

    def problem(self, bands: int, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` with `bands` channels cannot be compared, naming the key, or None."""
        if bands == 1:
            return "must be null for pictures of one band, which have no colour"
        return _Consistency.problem(self, bands, gt_size)

    @in_full_precision
    def __call__(self, result: Tensor, target: Tensor) -> Tensor:
        """The unweighted loss, a scalar of at least 0, of two float [B, C, H, W]; 0 where they are equal."""
        got, wanted = (oklab_chroma(three_bands(pictures, self.fixed_idx)) for pictures in (result, target))
        return F.avg_pool2d(got - wanted, self.downscale).abs().mean()


@dataclass(frozen=True, kw_only=True, slots=True)
class LumaConsistency(_Consistency):
    """The mean of |L - L'| / 100, CIELAB's lightness of sRGB pictures, averaged over squares of pixels.

    The luma loss of traiNNer-redux and neosr, with CIE's own line below 0.9 % of white's luminance.
    """

    downscale: int = 1
    """Side of the squares of pixels that are averaged before they are compared, at most gt_size; 1 averages none."""

    @in_full_precision
    def __call__(self, result: Tensor, target: Tensor) -> Tensor:
        """The unweighted loss, a scalar of at least 0, of two float [B, C, H, W]; 0 where they are equal."""
        got, wanted = (lightness(three_bands(pictures, self.fixed_idx)) for pictures in (result, target))
        return F.avg_pool2d(got - wanted, self.downscale).abs().mean()


def oklab_chroma(pictures: Tensor) -> Tensor:
    """Oklab's a and b, float [B, 2, H, W], within about 0.4, of sRGB pictures, float [B, 3, H, W]."""
    bands = linear_light(pictures).unbind(1)
    roots = [cube_root(_mixed(bands, factors), DARKEST) for factors in OKLAB_CONES]
    return torch.stack([_mixed(roots, factors) for factors in OKLAB_CHROMA], dim=1)


def lightness(pictures: Tensor) -> Tensor:
    """CIELAB's L / 100, float [B, 1, H, W] with black 0 and white 1, of sRGB pictures, float [B, 3, H, W]."""
    luminance = _mixed(linear_light(pictures).unbind(1), LUMINANCE)
    return (1.16 * cube_root(luminance, CIE_KNEE) - 0.16)[:, None]


def linear_light(pictures: Tensor) -> Tensor:
    """sRGB's values to linear light, both with white 1 (IEC 61966-2-1); below black and above white it goes on."""
    curve = ((pictures.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4  # clamped: no gradient of a negative base's power
    return torch.where(pictures <= 0.04045, pictures / 12.92, curve)


def cube_root(light: Tensor, knee: float) -> Tensor:
    """The cube root; below `knee` its tangent there, which has a finite slope at 0 and values below it."""
    root = knee ** (1 / 3)
    return torch.where(light > knee, light.clamp(min=knee) ** (1 / 3), root + (light - knee) / (3 * root**2))


def _mixed(planes: "tuple[Tensor, ...] | list[Tensor]", factors: tuple[float, float, float]) -> Tensor:
    """A weighted sum, not a matrix product, which a GPU may round."""
    first, second, third = planes
    return first * factors[0] + second * factors[1] + third * factors[2]
