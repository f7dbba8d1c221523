"""The fused kernels against the reference, one operation at a time: in Triton's interpreter here, compiled on a GPU.

Differences are in 8-bit levels. What lies outside an image on the canvas is poison.
"""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from degradations import Keys, Purpose, uniforms
from degradations.fused import blur as fused_blur
from degradations.fused import draws as fused_draws
from degradations.fused import jpeg as fused_jpeg
from degradations.fused import noise as fused_noise
from degradations.fused import resize as fused_resize
from degradations.fused import sharpen as fused_sharpen
from degradations.fused.canvas import Canvas
from degradations.fused.crops import crop
from degradations.operations.blur import blur
from degradations.operations.jpeg import libjpeg
from degradations.operations.kernels import FAMILIES, PULSE, BlurKernels, SincKernels
from degradations.operations.noise import GAUSSIAN, NONE, POISSON, Noise, NoiseRecipe
from degradations.operations.resize import MODES, resize
from degradations.operations.sharpen import usm_sharpen

SIZES = ((33, 40), (5, 37), (1, 3), (18, 16))


def images(bands: int, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[Tensor]:
    """Smooth waves with hard edges, k / 255, different in every band and image."""
    made = []
    for number, (height, width) in enumerate(sizes):
        y, x = torch.meshgrid(torch.arange(height) / 40, torch.arange(width) / 40, indexing="ij")
        waves = [torch.sin(9 * x * (band + 1) + 7 * y + number) for band in range(bands)]
        edges = ((x * 3).floor() + (y * 4).floor()) % 2
        made.append(((0.45 + 0.3 * torch.stack(waves) + 0.2 * edges).clamp(0, 1) * 255).round() / 255)
    return made


def canvas(pictures: list[Tensor], device: torch.device) -> Canvas:
    """The images on a canvas with poison around them."""
    made = Canvas.from_images(pictures)
    for place, picture in zip(made.pixels, pictures, strict=True):
        place[:, picture.shape[1] :] = torch.nan
        place[:, :, picture.shape[2] :] = torch.nan
    return Canvas(made.pixels.to(device), made.sizes.to(device))


def differences(got: Canvas, wanted: list[Tensor]) -> list[Tensor]:
    sizes = [picture.shape[-2:] for picture in wanted]
    return [(a.cpu() - b).abs() * 255 for a, b in zip(got.images(sizes), wanted, strict=True)]


def largest(got: Canvas, wanted: list[Tensor]) -> float:
    return max(float(difference.max()) for difference in differences(got, wanted))


def test_kernels_are_the_same(fused_device: torch.device) -> None:
    u = uniforms(Keys(1, torch.arange(24)), 0, 12)
    for family in (
        BlurKernels(kernel_list=FAMILIES, kernel_prob=(1,) * 6, sinc_prob=0.2, blur_prob=0.9),
        SincKernels(blur_kernel_size=9),
    ):
        recipe = family.draw(u)
        wanted, *parameters = (getattr(recipe, field.name) for field in fields(recipe))
        got = fused_draws.build_kernels([p.to(fused_device)[None] for p in parameters], len(wanted[0]))[0].cpu()
        assert (got - wanted).abs().max() < 2e-6
        assert (got.sum((1, 2)) - 1).abs().max() < 2e-6


@pytest.mark.parametrize("whole", [True, False])
def test_blur(whole: bool, fused_device: torch.device) -> None:
    recipe = BlurKernels(sinc_prob=0.5).draw(uniforms(Keys(3, torch.arange(4)), 0, 12))
    recipe.kind[3], recipe.kernel[3] = PULSE, torch.zeros(21, 21).index_put((torch.tensor(10),) * 2, torch.tensor(1.0))
    pictures = images(2) if whole else [picture * 0.99 for picture in images(2)]
    got = fused_blur.blur(canvas(pictures, fused_device), recipe.to(fused_device), whole=whole)
    assert largest(got, blur(pictures, recipe)) < 1e-3


def test_kernels_too_large_for_the_margin(fused_device: torch.device) -> None:
    made, recipe = canvas(images(1), fused_device), BlurKernels(blur_kernel_size=35).draw(torch.full((4, 10), 0.5))
    with pytest.raises(ValueError, match="at most 33, got 35"):
        fused_blur.blur(made, recipe)


@pytest.mark.parametrize("mode", range(3))
def test_resize(mode: int, fused_device: torch.device) -> None:
    targets = ((12, 61), (5, 37), (4, 2), (5, 9))
    pictures = images(1)
    sizes = torch.tensor(targets, device=fused_device)
    modes = torch.full((4,), mode, device=fused_device)
    got = fused_resize.resize(canvas(pictures, fused_device), sizes, modes, (12, 61))
    wanted = [resize(picture, size, MODES[mode]) for picture, size in zip(pictures, targets, strict=True)]
    assert largest(got, wanted) < 2e-3


def test_resize_with_upstreams_steps(fused_device: torch.device) -> None:
    pictures = images(1, (*SIZES, *[(30, 40)] * 2, *[(20, 40)] * 2))
    # the last ones keep their size, or their height, although the step is not 1
    scales, modes = (0.37, 1.3, 2.4, 0.81, 1.01, 1.01, 1.03, 1.03), (1, 2, 2, 0, 1, 2, 1, 2)
    targets = [[int(side * s) for side in picture.shape[1:]] for picture, s in zip(pictures, scales, strict=True)]
    got = fused_resize.resize(
        canvas(pictures, fused_device),
        torch.tensor(targets, device=fused_device),
        torch.tensor(modes, device=fused_device),
        (30, 48),
        (1 / torch.tensor(scales, dtype=torch.float64)).float().to(fused_device),
    )
    wanted = [
        resize(picture, (h, w), MODES[m], scale=s)
        for picture, (h, w), m, s in zip(pictures, targets, modes, scales, strict=True)
    ]
    assert largest(got, wanted) < 2e-3
    assert all(torch.equal(wanted[i], pictures[i]) for i in (4, 5))


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_noise(bands: int, fused_device: torch.device) -> None:
    """The same fields: all but a few Poisson numbers, whose quantile falls between two whole ones, are equal.

    A GPU's roots and quotients are off by a last bit or two, so that there it may be one or two of these pixels.
    """
    sizes = ((33, 40), (18, 16), (30, 30), (5, 37), (9, 9))
    pictures = [picture * 0.987 for picture in images(bands, sizes)]  # means of whole levels would be ties
    recipe = NoiseRecipe(
        torch.tensor([GAUSSIAN, POISSON, GAUSSIAN, POISSON, NONE]),
        torch.tensor([20.0, 1.5, 9.0, 2.5, 1.0]),
        torch.tensor([False, False, True, True, True]),
    )
    keys = Keys(2**64 - 5, torch.tensor([1, 2**33 + 7, 3, 4, 5]))
    wanted = Noise().apply(pictures, recipe, keys, Purpose.NOISE_1_FIELD)
    moved = recipe.to(fused_device)
    there = Keys(keys.seed, keys.positions.to(fused_device))
    noise = (moved.kind, moved.strength, moved.gray, there, Purpose.NOISE_1_FIELD)
    found = differences(fused_noise.add_noise(canvas(pictures, fused_device), *noise), wanted)
    assert torch.cat([found[i].flatten() for i in (0, 2, 4)]).max() < 1e-3
    assert (torch.cat([found[i].flatten() for i in (1, 3)]) > 1e-2).float().mean() < 5e-3


@pytest.mark.parametrize("bands", [1, 3])
def test_jpeg_is_equal(bands: int, fused_device: torch.device) -> None:
    pictures, quality = images(bands), torch.tensor([30, 95, 100, 1])
    wanted = [libjpeg(picture[None], int(q))[0] for picture, q in zip(pictures, quality, strict=True)]
    whole = fused_jpeg.jpeg(canvas(pictures, fused_device), quality.to(fused_device))
    assert whole.pixels.dtype == torch.uint8
    assert largest(whole, wanted) == 0
    chosen = torch.tensor([False, True, False, True])
    some = fused_jpeg.jpeg(canvas(pictures, fused_device), quality.to(fused_device), chosen.to(fused_device))
    assert largest(some, [b if c else a for a, b, c in zip(pictures, wanted, chosen, strict=True)]) < 1e-4


def test_usm(fused_device: torch.device) -> None:
    pictures = torch.stack([picture[:, :33, :40] for picture in images(1, ((70, 66), (80, 90)))])
    levels = (pictures * 255).round()
    got = fused_sharpen.usm_sharpen(Canvas.full(levels.to(torch.uint8).to(fused_device)))
    wanted = usm_sharpen(pictures)
    assert ((wanted - pictures) * 255).abs().max() > 3
    assert largest(got, list(wanted)) < 5e-3


def test_crop(fused_device: torch.device) -> None:
    levels = torch.arange(2 * 20 * 24).view(2, 1, 20, 24) % 255 + torch.tensor([-0.4, 0.4]).view(2, 1, 1, 1)
    top, left = torch.tensor([1, 4]), torch.tensor([5, 0])
    made = Canvas.full(levels.to(fused_device))
    got = crop(made, top.to(fused_device), left.to(fused_device), (8, 12), 2).cpu()
    cut = [image[:, 2 * y : 2 * y + 8, 2 * x : 2 * x + 12] for image, y, x in zip(levels, top, left, strict=True)]
    assert torch.equal(got, torch.stack(cut).round().clamp(0, 255).to(torch.uint8))
