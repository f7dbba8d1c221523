"""Real-ESRGAN's two-order degradation, with its option names and its numbers as defaults.

Wang, Xie, Dong and Shan, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data" (2021);
`realesrgan/models/realesrgan_model.py`, `feed_data`. In order: blur, resize, noise, JPEG; blur, resize, noise; then
either resize, sinc filter, JPEG or JPEG, resize, sinc filter; then 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from degradations.checks import check_probability, check_scale
from degradations.constants import int64_constant
from degradations.keyed_random import Keys, Purpose, uniform_table
from degradations.operations.blur import blur
from degradations.operations.jpeg import Arithmetic, Jpeg, JpegRecipe
from degradations.operations.kernels import FAMILIES, BlurKernels, KernelRecipe, SincKernels
from degradations.operations.noise import Noise, NoiseRecipe, quantise
from degradations.operations.operation import with_options_of
from degradations.operations.resize import Geometry, Resize, ResizeRecipe, draw_mode
from degradations.recipes import DegradationRecipe, Recipe, check_images
from degradations.values import UNIT, check_value_range, from_unit, to_unit

STAGES = (
    Purpose.BLUR_1, Purpose.RESIZE_1, Purpose.NOISE_1, Purpose.JPEG_1,
    Purpose.BLUR_2, Purpose.RESIZE_2, Purpose.NOISE_2, Purpose.JPEG_2,
    Purpose.RESIZE_3, Purpose.SINC, Purpose.ORDER,
)  # fmt: skip
NUMBERS_PER_STAGE = 12  # uniform numbers for each stage
# `draws: batch` shares what Real-ESRGAN draws once for a batch: these columns of each stage's numbers
_SHARED = {
    Purpose.RESIZE_1: slice(None),
    Purpose.NOISE_1: slice(0, 1),
    Purpose.BLUR_2: slice(9, 10),
    Purpose.RESIZE_2: slice(None),
    Purpose.NOISE_2: slice(0, 1),
    Purpose.RESIZE_3: slice(None),
    Purpose.ORDER: slice(None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondOrderRecipe(DegradationRecipe):
    """Draws of `SecondOrder` for a batch; `apply(images, recipe)` gives the same result each time.

    Args:
        blur1, resize1, ..., resize3, sinc: the stages, see their classes.
        jpeg_last: bool [B], the end is resize, sinc, JPEG (else JPEG, resize, sinc).
    """

    blur1: KernelRecipe
    resize1: ResizeRecipe
    noise1: NoiseRecipe
    jpeg1: JpegRecipe
    blur2: KernelRecipe
    resize2: ResizeRecipe
    noise2: NoiseRecipe
    jpeg2: JpegRecipe
    resize3: ResizeRecipe
    sinc: KernelRecipe
    jpeg_last: Tensor

    def with_kernels(self, kernels: Mapping[str, Tensor]) -> SecondOrderRecipe:
        """This recipe with kernels that were made elsewhere, float32 [B, K, K], by Real-ESRGAN's names.

        Args:
            kernels: any of ``kernel1``, ``kernel2`` (where `second_blur_prob` drew a second blur) and ``sinc_kernel``.

        Raises:
            ValueError: if a name is another one.
        """
        stages = {"kernel1": "blur1", "kernel2": "blur2", "sinc_kernel": "sinc"}
        if unknown := kernels.keys() - stages.keys():
            raise ValueError(f"kernels are called {', '.join(stages)}, got {', '.join(sorted(unknown))}")
        changed = {
            stages[name]: getattr(self, stages[name]).with_kernel(kernel, keep_pulses=name == "kernel2")
            for name, kernel in kernels.items()
        }
        return replace(self, **changed)

    def caption(self, i: int) -> str:
        """Sample `i` in words: one part for each order and one for the end, separated by ``|``."""
        jpeg_last = bool(self.jpeg_last[i])
        end: tuple[Recipe, ...] = (
            (self.resize3, self.sinc, self.jpeg2) if jpeg_last else (self.jpeg2, self.resize3, self.sinc)
        )
        orders: tuple[tuple[Recipe, ...], ...] = (
            (self.blur1, self.resize1, self.noise1, self.jpeg1),
            (self.blur2, self.resize2, self.noise2),
            end,
        )
        parts = ([text for stage in order if (text := stage.describe(i))] for order in orders)
        return " | ".join(" · ".join(part) for part in parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondOrder:
    """The degradation of Real-ESRGAN. Names and numbers of its x4plus and x2plus options; ``...2``: second order."""

    type: Literal["second_order"] = "second_order"
    resize_prob: tuple[float, float, float] = (0.2, 0.7, 0.1)
    """Weights of enlarging, shrinking and keeping the size."""
    resize_range: tuple[float, float] = (0.15, 1.5)
    """Smallest factor on the size, at most 1, and largest, at least 1."""
    noise_prob: float = 1.0
    """Probability of any noise (upstream: always)."""
    gaussian_noise_prob: float = 0.5
    """Probability that the noise is Gaussian, else Poisson."""
    noise_range: tuple[float, float] = (1.0, 30.0)
    """Standard deviation of Gaussian noise, 8-bit levels."""
    poisson_scale_range: tuple[float, float] = (0.05, 3.0)
    """Factor on Poisson noise."""
    gray_noise_prob: float = 0.4
    """Probability that all channels share one noise field."""
    jpeg_range: tuple[float, float] = (30.0, 95.0)
    """Lowest and highest JPEG quality, both included."""
    second_blur_prob: float = 0.8
    """Probability of the second blur."""
    resize_prob2: tuple[float, float, float] = (0.3, 0.4, 0.3)
    """`resize_prob` of the second order."""
    resize_range2: tuple[float, float] = (0.3, 1.2)
    """`resize_range` of the second order; the factor multiplies the final size, 1 / scale."""
    noise_prob2: float = 1.0
    """`noise_prob` of the second order."""
    gaussian_noise_prob2: float = 0.5
    """`gaussian_noise_prob` of the second order."""
    noise_range2: tuple[float, float] = (1.0, 25.0)
    """`noise_range` of the second order."""
    poisson_scale_range2: tuple[float, float] = (0.05, 2.5)
    """`poisson_scale_range` of the second order."""
    gray_noise_prob2: float = 0.4
    """`gray_noise_prob` of the second order."""
    jpeg_range2: tuple[float, float] = (30.0, 95.0)
    """`jpeg_range` of the second order."""
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
    blur_kernel_size2: int = 21
    """`blur_kernel_size` of the second order, and of the final sinc filter."""
    kernel_list2: tuple[str, ...] = FAMILIES
    """`kernel_list` of the second order."""
    kernel_prob2: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    """`kernel_prob` of the second order."""
    sinc_prob2: float = 0.1
    """`sinc_prob` of the second order."""
    blur_sigma2: tuple[float, float] = (0.2, 1.5)
    """`blur_sigma` of the second order."""
    betag_range2: tuple[float, float] = (0.5, 4.0)
    """`betag_range` of the second order."""
    betap_range2: tuple[float, float] = (1.0, 2.0)
    """`betap_range` of the second order."""
    final_sinc_prob: float = 0.8
    """Probability of the final sinc filter (ringing and overshoot)."""
    draws: Literal["sample", "batch"] = "sample"
    """`sample` draws everything for each sample; `batch` shares both resizes, the noise families, the second blur,
    the last filter and the order over the batch, as upstream (a sample then depends on its batch)."""
    jpeg: Arithmetic = "libjpeg"
    """`libjpeg` is exact; `realesrgan` is upstream's DiffJPEG."""
    resize: Geometry = "aligned"
    """`aligned` keeps content in place; `realesrgan` is upstream's first resize, which drifts."""
    antialias: bool = False
    """Filter bilinear and bicubic resizing when shrinking; upstream does not, nor do many real devices."""
    value_range: tuple[float, float] = UNIT
    """The values of black and white that are taken and returned, such as [0, 10000] for reflectance."""

    def __post_init__(self) -> None:
        check_value_range(self.value_range)
        check_probability("second_blur_prob", self.second_blur_prob)
        for name, build in (("", self.first), ("2", self.second)):
            try:
                build()
            except ValueError as error:
                raise ValueError(f"{error} (in the options ending in {name!r})" if name else str(error)) from None

    def first(self) -> tuple[BlurKernels, Resize, Noise, Jpeg]:
        """The operations of the first order."""
        return (
            with_options_of(self, BlurKernels),
            with_options_of(self, Resize, geometry=self.resize),
            with_options_of(self, Noise),
            with_options_of(self, Jpeg, arithmetic=self.jpeg),
        )

    def second(self) -> tuple[BlurKernels, Resize, Noise, Jpeg, SincKernels]:
        """The operations of the second order and of the end."""
        return (
            with_options_of(self, BlurKernels, "2", blur_prob=self.second_blur_prob),
            # upstream's second and third resize name the size, so their geometry is always aligned
            with_options_of(self, Resize, "2", antialias=self.antialias),
            with_options_of(self, Noise, "2"),
            with_options_of(self, Jpeg, "2", arithmetic=self.jpeg),
            SincKernels(final_sinc_prob=self.final_sinc_prob, blur_kernel_size=self.blur_kernel_size2),
        )

    def draw(self, keys: Keys, height: int, width: int, scale: int) -> SecondOrderRecipe:
        """Draw the recipe of a batch.

        Args:
            keys: the samples; drawn on their device (best the CPU, where `apply` reads sizes).
            height, width: size of the images, multiples of `scale`.
            scale: pixels of the image for one pixel of the result, at least 1.

        Raises:
            ValueError: if a side is not a multiple of the scale.
        """
        check_scale(height, width, scale)
        table = uniform_table(keys, STAGES, NUMBERS_PER_STAGE)
        if self.draws == "batch":
            for purpose, columns in _SHARED.items():
                row = STAGES.index(purpose)
                table[row, :, columns] = table[row, :1, columns].clone()
        u = dict(zip(STAGES, table, strict=True))
        blur1, resize1, noise1, jpeg1 = self.first()
        blur2, resize2, noise2, jpeg2, sinc = self.second()
        lq = int64_constant((height // scale, width // scale), table.device)
        return SecondOrderRecipe(
            blur1=blur1.draw(u[Purpose.BLUR_1]),
            resize1=resize1.draw(u[Purpose.RESIZE_1], height, width),
            noise1=noise1.draw(u[Purpose.NOISE_1]),
            jpeg1=jpeg1.draw(u[Purpose.JPEG_1]),
            blur2=blur2.draw(u[Purpose.BLUR_2]),
            resize2=resize2.draw(u[Purpose.RESIZE_2], height / scale, width / scale),
            noise2=noise2.draw(u[Purpose.NOISE_2]),
            jpeg2=jpeg2.draw(u[Purpose.JPEG_2]),
            resize3=ResizeRecipe(
                torch.full_like(u[Purpose.RESIZE_3][:, 0], 1 / scale, dtype=torch.float64),
                lq.expand(len(keys), 2),
                draw_mode(u[Purpose.RESIZE_3][:, 0]),
            ),
            sinc=sinc.draw(u[Purpose.SINC]),
            jpeg_last=u[Purpose.ORDER][:, 0] < 0.5,
            positions=keys.positions,
            seed=keys.seed,
            height=height,
            width=width,
            scale=scale,
        )

    def apply(self, images: Tensor, recipe: SecondOrderRecipe) -> Tensor:
        """Degrade images.

        Args:
            images: float32 [B, C, H, W] in `value_range`, of the size that the recipe was drawn for.
            recipe: from `draw`, best on the CPU: sizes are read on the host, and from a GPU that synchronises.

        Returns:
            float32 [B, C, H // scale, W // scale] in `value_range`, 256 levels: k / 255 for [0, 1].

        Raises:
            ValueError: if the images are not those of the recipe, or their bands do not suit the JPEG simulation.
        """
        check_images(images, recipe)
        recipe = recipe.to("cpu")
        _, resize1, noise1, jpeg1 = self.first()
        _, resize2, noise2, jpeg2, _ = self.second()

        out = blur(to_unit(images, self.value_range).unbind(), recipe.blur1)
        out = resize1.apply(out, recipe.resize1)
        out = noise1.apply(out, recipe.noise1, recipe.keys, Purpose.NOISE_1_FIELD)
        out = jpeg1.apply(out, recipe.jpeg1)

        out = blur(out, recipe.blur2)
        out = resize2.apply(out, recipe.resize2)
        out = noise2.apply(out, recipe.noise2, recipe.keys, Purpose.NOISE_2_FIELD)

        jpeg_last = recipe.jpeg_last
        out = _apply_to_chosen(~jpeg_last, out, recipe.jpeg2, jpeg2.apply)
        out = blur(resize2.apply(out, recipe.resize3), recipe.sinc)
        out = _apply_to_chosen(jpeg_last, out, recipe.jpeg2, jpeg2.apply)
        return from_unit(torch.stack([quantise(image) for image in out]), self.value_range)


def _apply_to_chosen(
    chosen: Tensor,
    images: list[Tensor],
    recipe: JpegRecipe,
    apply: Callable[[Sequence[Tensor], JpegRecipe], list[Tensor]],
) -> list[Tensor]:
    """Apply an operation to the chosen samples only."""
    places = chosen.nonzero().flatten().tolist()
    done = apply([images[i] for i in places], recipe.select(chosen)) if places else []
    images = list(images)
    for place, image in zip(places, done, strict=True):
        images[place] = image
    return images
