"""MS-SSIM, focal frequency, gradient, colour, luma, LDL: independent formulas, figures of other programs, laws."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate, gaussian_filter
from skimage.color import rgb2lab
from torch import Tensor

from trainer.losses import (
    LDL,
    ColourConsistency,
    ContextualLoss,
    FeatureMatching,
    FocalFrequency,
    GradientLoss,
    ImportedLoss,
    LossesConfig,
    LumaConsistency,
    MultiScaleSSIM,
)
from trainer.losses.consistency import cube_root, lightness, oklab_chroma
from trainer.losses.contextual import contextual_distance
from trainer.losses.ldl import artifact_map
from trainer.losses.ms_ssim import EXPONENTS

Loss = Callable[[Tensor, Tensor], Tensor]


def pictures(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A result and its target: waves, the result with less contrast and another wave on it."""
    ramp = torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)
    target = (ramp * 0.37).sin() * 0.2 + (ramp * 0.011).cos() * 0.25 + 0.5
    return (0.8 * target + 0.05 + 0.05 * (ramp * 0.23).cos()).to(dtype), target.to(dtype)


def ldl(result: Tensor, target: Tensor) -> Tensor:
    """LDL with an average that is a little better or worse by turns."""
    return LDL()(result, target, target + (result - target).flip(-1))


def contextual(result: Tensor, target: Tensor) -> Tensor:
    """The contextual distance with pictures for features."""
    return contextual_distance(result.float(), target.float(), 0.5)


ALL: dict[str, Loss] = {
    "ms_ssim": MultiScaleSSIM(scales=2),
    "focal_frequency": FocalFrequency(),
    "focal_frequency, patches": FocalFrequency(alpha=0.5, patch_factor=2),
    "spsr": GradientLoss(),
    "sobel": GradientLoss(type="sobel"),
    "colour": ColourConsistency(),
    "luma": LumaConsistency(downscale=2),
    "ldl": ldl,
}


@pytest.mark.parametrize("name", ALL)
def test_equal_pictures_are_at_distance_0_with_a_finite_gradient(name: str) -> None:
    for target in (pictures(2, 3, 24, 26, dtype=torch.float32)[1], torch.zeros(2, 3, 24, 26), torch.ones(2, 3, 24, 26)):
        result = target.clone().requires_grad_()
        loss = ALL[name](result, target)
        loss.backward()
        assert loss.item() == 0
        assert result.grad is not None
        assert result.grad.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_a_loss_is_a_positive_float32_whose_gradient_is_finite_far_outside_of_the_range(name: str) -> None:
    result, target = pictures(2, 3, 24, 26, dtype=torch.float32)
    wild = torch.cat([3 * result[:1] - 1.5, -result[1:]]).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = ALL[name](wild, target)
        rough = ALL[name](result.bfloat16(), target.bfloat16())
    loss.backward()
    assert loss.dtype == rough.dtype == torch.float32
    assert min(loss.item(), rough.item()) > 0
    assert wild.grad is not None
    assert wild.grad.isfinite().all()


@pytest.mark.parametrize("name", [*ALL, "contextual"])
def test_a_batch_may_be_divided_and_ordered_anyhow(name: str) -> None:
    loss = {**ALL, "contextual": contextual}[name]
    result, target = pictures(4, 3, 24, 26)
    whole = loss(result, target)
    torch.testing.assert_close(whole, loss(result.flip(0), target.flip(0)))
    halves = [loss(result[part], target[part]) for part in (slice(2), slice(2, 4))]
    torch.testing.assert_close(whole, torch.stack(halves).mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_is_that_of_small_differences(name: str) -> None:
    if name.startswith("focal"):
        return  # its weights have none: see below
    result, target = pictures(1, 3, 22, 24)
    direction = torch.cos(torch.arange(result.numel(), dtype=torch.float64)).reshape(result.shape)
    twin = result.clone().requires_grad_()
    averaged = target + 3 * (result - target).roll(5, -1)  # fixed
    loss = (lambda pair, aim: LDL()(pair, aim, averaged)) if name == "ldl" else ALL[name]
    loss(twin, target).backward()
    assert twin.grad is not None
    step = 1e-7
    slope = (loss(result + step * direction, target) - loss(result - step * direction, target)) / (2 * step)
    assert (twin.grad * direction).sum().item() == pytest.approx(slope.item(), rel=1e-4)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("colour", "luma")])
@pytest.mark.parametrize("bands", [1, 5])
def test_any_number_of_bands_will_do(name: str, bands: int) -> None:
    assert ALL[name](*pictures(1, bands, 24, 24)) > 0


def test_ms_ssim_is_that_of_pytorch_msssim() -> None:
    """Version 1.0.0 for these pictures, with `data_range=1`; its window is rounded to float32."""
    assert 1 - MultiScaleSSIM()(*pictures(2, 3, 176, 192)).item() == pytest.approx(0.8344860319433011, abs=3e-6)
    single = 1 - MultiScaleSSIM()(*pictures(2, 3, 176, 192, dtype=torch.float32)).item()
    assert single == pytest.approx(0.8344860319433011, abs=3e-6)


def test_ms_ssim_is_its_formula() -> None:
    """By scipy's Gaussian filter, for three scales."""
    result, target = pictures(1, 1, 60, 64)
    x, y = result[0, 0].numpy(), target[0, 0].numpy()
    smooth = partial(gaussian_filter, sigma=1.5, truncate=5 / 1.5)
    product, exponents = 1.0, np.array(EXPONENTS[:3]) / sum(EXPONENTS[:3])
    for scale, exponent in enumerate(exponents):
        mx, my = smooth(x), smooth(y)
        cs = (2 * (smooth(x * y) - mx * my) + 0.03**2) / (smooth(x * x) - mx**2 + smooth(y * y) - my**2 + 0.03**2)
        luminance = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
        product *= ((luminance * cs if scale == 2 else cs)[5:-5, 5:-5]).mean() ** exponent
        if scale == 2:
            break
        x, y = ((p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) / 4 for p in (x, y))
    assert MultiScaleSSIM(scales=3)(result, target).item() == pytest.approx(1 - product, rel=1e-9)


@pytest.mark.parametrize(("patch_factor", "alpha"), [(1, 1.0), (2, 1.0), (1, 0.0), (2, 0.5)])
@pytest.mark.parametrize("width", [12, 14])
def test_focal_frequency_is_its_formula(patch_factor: int, alpha: float, width: int) -> None:
    """By numpy's whole spectrum, and its gradient is that of w |F|^2 with w as it is. Odd and even patches."""
    result, target = pictures(2, 2, 10, width)
    d, total, slope = (result - target).numpy(), [], np.zeros(result.shape)
    h, w = 10 // patch_factor, width // patch_factor
    for row in range(0, 10, h):
        for column in range(0, width, w):
            spectrum = np.fft.fft2(d[..., row : row + h, column : column + w], norm="ortho")
            weights = np.abs(spectrum) ** alpha
            weights /= weights.max((-2, -1), keepdims=True)
            total.append((weights * np.abs(spectrum) ** 2).mean())
            back = np.fft.ifft2(weights * spectrum, norm="ortho").real
            slope[..., row : row + h, column : column + w] = 2 * back / d.size
    twin = result.clone().requires_grad_()
    loss = FocalFrequency(patch_factor=patch_factor, alpha=alpha)(twin, target)
    loss.backward()
    assert loss.item() == pytest.approx(np.mean(total), rel=1e-9)
    torch.testing.assert_close(twin.grad, torch.from_numpy(slope))
    if alpha == 0:
        assert loss.item() == pytest.approx((d**2).mean())  # Parseval


def test_gradients_of_ramps() -> None:
    rows, columns = torch.arange(6.0)[:, None], torch.arange(7.0)[None, :]
    ramp, flat = (0.03 * rows - 0.04 * columns).expand(2, 3, 6, 7), torch.full((2, 3, 6, 7), 0.5)
    lengths = math.sqrt(0.06**2 + 0.08**2 + 1e-6) - math.sqrt(1e-6)  # SPSR's differences span two pixels
    assert GradientLoss()(ramp, flat).item() == pytest.approx(lengths, rel=1e-4)
    assert GradientLoss(type="sobel")(ramp, flat).item() == pytest.approx(0.07, rel=1e-4)
    assert GradientLoss()(ramp, 0.9 - ramp).item() == pytest.approx(0, abs=1e-6)  # a length has no direction
    assert GradientLoss(type="sobel")(ramp, 0.9 - ramp).item() == pytest.approx(0.14, rel=1e-4)


def test_gradients_are_their_formulas() -> None:
    result, target = pictures(1, 1, 9, 11)
    x, y = result[0, 0].numpy(), target[0, 0].numpy()
    central, sobel = np.array([[-1.0, 0, 1]]), np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    inner = np.s_[1:-1, 1:-1]
    lengths = [np.sqrt(correlate(p, central) ** 2 + correlate(p, central.T) ** 2 + 1e-6)[inner] for p in (x, y)]
    assert GradientLoss()(result, target).item() == pytest.approx(np.abs(lengths[0] - lengths[1]).mean())
    sides = [np.abs(correlate(x - y, kernel)[inner]).mean() for kernel in (sobel, sobel.T)]
    assert GradientLoss(type="sobel")(result, target).item() == pytest.approx(sum(sides))


def test_lightness_is_cielabs() -> None:
    picture = torch.rand(1, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 3  # dark too
    wanted = rgb2lab(picture[0].permute(1, 2, 0).numpy())[..., 0] / 100
    np.testing.assert_allclose(lightness(picture)[0, 0].numpy(), wanted, atol=1e-4)


def test_oklab_is_that_of_its_author() -> None:
    """Ottosson's figures for red, green and blue of sRGB, as CSS Color 4 has them; grays have no chroma."""
    corners = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]], dtype=torch.float64)[..., None, None]
    wanted = torch.tensor([[0.22486, 0.12585], [-0.23389, 0.17950], [-0.03246, -0.31153], [0, 0]], dtype=torch.float64)
    torch.testing.assert_close(oklab_chroma(corners)[..., 0, 0], wanted, atol=1e-5, rtol=0)


def test_the_cube_root_goes_on_below_its_knee_without_a_bend() -> None:
    knee = torch.tensor(0.008, dtype=torch.float64, requires_grad=True)
    for light, root in ((0.027, 0.3), (0.008, 0.2), (0.0, 0.2 - 0.008 / 0.12), (-0.008, 0.2 - 0.016 / 0.12)):
        assert cube_root(torch.tensor(light, dtype=torch.float64), 0.008).item() == pytest.approx(root)
    for other in (knee, knee + 1e-12):
        (slope,) = torch.autograd.grad(cube_root(other, 0.008), knee)
        assert slope.item() == pytest.approx(1 / 0.12, rel=1e-6)


def test_colours_and_lightness_are_compared_over_squares() -> None:
    """A chequerboard of two colours is their mean over any square of 2; lightness alone is no colour."""
    red, blue = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    mask = (torch.arange(8)[:, None] + torch.arange(8)) % 2 == 0
    board = torch.where(mask, red[:, None, None], blue[:, None, None])[None]
    assert ColourConsistency(downscale=2)(board, board.roll(1, -1)).item() == pytest.approx(0, abs=1e-6)
    a, b = (oklab_chroma(colour[None, :, None, None]).flatten() for colour in (red, blue))
    wanted = (a - b).abs().mean().item()
    assert ColourConsistency(downscale=1)(board, board.roll(1, -1)).item() == pytest.approx(wanted, rel=1e-5)
    grays = torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 8, 8), 0.6)
    assert ColourConsistency()(*grays).item() == pytest.approx(0, abs=1e-6)
    apart = lightness(grays[1]).mean() - lightness(grays[0]).mean()
    assert LumaConsistency()(*grays).item() == pytest.approx(apart.item(), rel=1e-5)
    one = LumaConsistency()(grays[0][:, :1], grays[1][:, :1])
    assert one.item() == pytest.approx(apart.item(), rel=1e-5)


def test_bands_of_colour_are_chosen() -> None:
    result, target = pictures(1, 5, 8, 8)
    for loss in (ColourConsistency, LumaConsistency):
        chosen = loss(fixed_idx=(3, 2, 0))(result, target)
        torch.testing.assert_close(chosen, loss()(result[:, [3, 2, 0]], target[:, [3, 2, 0]]))


def test_the_artifact_map_is_its_formula() -> None:
    """By numpy's windows, with the mirrored border; basicsr 1.4.2's `get_refined_artifact_map` gives the same."""
    result, target = pictures(2, 3, 12, 10)
    averaged = target + (result - target).roll(1, -1)
    found = artifact_map(result, target, averaged)
    for one in range(2):
        r, t, a = (picture[one].numpy() for picture in (result, target, averaged))
        residual, steady = np.abs(t - r).sum(0), np.abs(t - a).sum(0)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(residual, 3, mode="reflect"), (7, 7))
        wanted = residual.var(ddof=1) ** 0.2 * windows.reshape(12, 10, 49).var(-1, ddof=1)
        wanted[residual < steady] = 0
        np.testing.assert_allclose(found[one, 0].numpy(), wanted, rtol=1e-6, atol=1e-12)
    assert (found == 0).any()
    loss = LDL()(result, target, averaged)
    assert loss.item() == pytest.approx((found * (result - target)).abs().mean().item())


def test_ldl_leaves_details_alone() -> None:
    """Where the average is further from the target everywhere, the generator gains detail; where nearer, artifacts."""
    result, target = pictures(1, 3, 16, 16)
    assert LDL()(result, target, target + 2 * (result - target)).item() == 0
    assert LDL()(result, target, target + 0.5 * (result - target)).item() > 0


@pytest.mark.parametrize(
    ("losses", "bands", "gt_size", "sentence"),
    [
        (
            {"ms_ssim": MultiScaleSSIM()},
            3,
            175,
            "ms_ssim.scales: got 5, for patches of 176 pixels; 4 would do for gt_si",
        ),
        ({"ms_ssim": MultiScaleSSIM()}, 3, 10, "ms_ssim: must be null for a gt_size of 10; it needs 11 pixels"),
        (
            {"focal_frequency": FocalFrequency(patch_factor=3)},
            3,
            64,
            "focal_frequency.patch_factor: got 3; must divide",
        ),
        ({"gradient": GradientLoss()}, 3, 2, "gradient: must be null for a gt_size of 2; it needs 3 pixels"),
        ({"ldl": LDL()}, 3, 6, "ldl: must be null for a gt_size of 6; it needs 7 pixels"),
        ({"colour": ColourConsistency()}, 1, 64, "colour: must be null for pictures of one band, which have no colour"),
        ({"colour": ColourConsistency()}, 4, 64, "colour.fixed_idx: must be given for 4 bands"),
        ({"luma": LumaConsistency(downscale=65)}, 1, 64, "luma.downscale: got 65; must be at most gt_size 64"),
        ({"contextual": ContextualLoss()}, 2, 64, "contextual.fixed_idx: must be given for 2 bands"),
    ],
)
def test_what_does_not_fit_the_pictures_is_named(
    losses: dict[str, Any], bands: int, gt_size: int, sentence: str
) -> None:
    (found,) = LossesConfig(**losses).problems(bands, gt_size)
    assert found.startswith(sentence)


def test_what_fits_is_no_problem() -> None:
    losses = LossesConfig(
        ms_ssim=MultiScaleSSIM(scales=4), ldl=LDL(), gradient=GradientLoss(), luma=LumaConsistency(),
        focal_frequency=FocalFrequency(patch_factor=2),
    )  # fmt: skip
    assert list(losses.problems(1, 88)) == []


@pytest.mark.parametrize(
    ("section", "options", "sentence"),
    [
        (MultiScaleSSIM, {"scales": 6}, "scales: got 6; must be 1 to 5"),
        (FocalFrequency, {"alpha": -1}, "alpha: got -1; must be at least 0"),
        (FocalFrequency, {"patch_factor": 0}, "patch_factor: got 0; must be at least 1"),
        (LumaConsistency, {"downscale": 0}, "downscale: got 0; must be at least 1"),
        (ContextualLoss, {"bandwidth": 0}, "bandwidth: got 0; must be positive"),
        (ContextualLoss, {"layer_weights": {"conv9_1": 1}}, "layer_weights: got conv9_1; allowed: conv1_1"),
        (ContextualLoss, {"layer_weights": {}}, "layer_weights: must name at least one layer"),
        *((section, {"weight": -1}, "weight: got -1; must be at least 0") for section in (
            MultiScaleSSIM, FocalFrequency, GradientLoss, ColourConsistency, LumaConsistency, LDL, ContextualLoss,
            FeatureMatching, partial(ImportedLoss, name="a", path="b.c"))),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(section: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        section(**options)


def test_a_term_without_weight_is_left_out() -> None:
    losses = LossesConfig(
        ms_ssim=MultiScaleSSIM(weight=0), luma=LumaConsistency(weight=0.1), ldl=LDL(weight=0),
        modules=(ImportedLoss(name="mine", path="a.b"), ImportedLoss(name="other", path="a.c", weight=0)),
    )  # fmt: skip
    assert losses.terms == ["pixel", "luma", "mine"]
    assert list(losses.of_pictures) == ["luma"]
