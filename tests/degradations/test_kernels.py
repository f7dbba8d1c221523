"""Kernels against upstream's own, and the statistics of their draw."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor

from degradations.keyed_random import Keys, Purpose, uniforms
from degradations.operations.kernels import FAMILIES, PULSE, SINC, BlurKernels, SincKernels, build_kernels

NAME = re.compile(r"kernel__(?P<family>\w+?)__k(?P<k>\d+)_sx(?P<sx>.+?)_sy(?P<sy>.+?)_th(?P<th>.+?)(_b(?P<b>.+))?$")


def one(dtype: torch.dtype, kind: int, k: int, sx: float, sy: float, th: float, b: float, w: float) -> Tensor:
    rows = [torch.tensor([value], dtype=dtype) for value in (sx, sy, th, b, w)]
    return build_kernels(torch.tensor([kind]), torch.tensor([k]), *rows, canvas=k)[0]


def test_families_equal_upstream(vectors: dict[str, Tensor]) -> None:
    names = [name for name in vectors if name.startswith("kernel__")]
    assert len(names) > 10
    for name in names:
        found = NAME.match(name)
        assert found, name
        part = found.groupdict(default="1")
        arguments = (int(part["k"]), float(part["sx"]), float(part["sy"]), float(part["th"]), float(part["b"]), 1.0)
        kind = FAMILIES.index(part["family"])
        assert (one(torch.float64, kind, *arguments) - vectors[name]).abs().max() < 1e-12, name
        assert (one(torch.float32, kind, *arguments) - vectors[name]).abs().max() < 1e-6, name


def test_sinc_equals_upstream(vectors: dict[str, Tensor]) -> None:
    names = [name for name in vectors if name.startswith("sinc__")]
    assert names
    for name in names:
        k, omega = re.match(r"sinc__k(\d+)_wc([\d.]+)_", name).groups()
        target = vectors[name]
        margin = (target.shape[-1] - int(k)) // 2
        core = target[margin : margin + int(k), margin : margin + int(k)]
        # the file names round the cut-off to six digits
        omega = next(
            (exact for exact in (math.pi, math.pi / 3, math.pi / 5) if abs(exact - float(omega)) < 1e-6), float(omega)
        )
        for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
            assert (one(dtype, SINC, int(k), 1, 1, 0, 1, omega) - core).abs().max() < bound, name


def test_kernels_sum_to_one_and_end_at_their_size() -> None:
    drawn = BlurKernels().draw(uniforms(Keys(0, torch.arange(300)), Purpose.BLUR_1, 12))
    assert torch.allclose(drawn.kernel.sum((1, 2)), torch.ones(300), atol=1e-5)
    reach = (torch.arange(21) - 10).abs()
    outside = torch.maximum(reach[:, None], reach[None]) > (drawn.size // 2)[:, None, None]
    assert drawn.kernel[outside].abs().max() == 0
    assert torch.allclose(drawn.kernel, drawn.kernel.flip(1, 2), atol=1e-7)


def test_draws_follow_the_options() -> None:
    n = 20_000
    config = BlurKernels(blur_prob=0.8)
    drawn = config.draw(uniforms(Keys(9, torch.arange(n)), Purpose.BLUR_2, 12))
    expected = 0.8 * torch.tensor([*(0.9 * p for p in config.kernel_prob), 0.1, 0.25])
    shares = torch.bincount(drawn.kind, minlength=8) / n
    assert torch.allclose(shares, expected, atol=0.012)
    assert torch.allclose(torch.bincount(drawn.size, minlength=22)[7::2] / n, torch.full((8,), 1 / 8), atol=0.01)
    for values, low, high in ((drawn.sigma_x, 0.2, 3.0), (drawn.theta, -math.pi, math.pi)):
        assert low <= values.min()
        assert values.max() <= high
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.06)
        assert values.std().item() == pytest.approx((high - low) / 12**0.5, abs=0.03)
    generalised, plateau = (drawn.kind // 2 == 1), (drawn.kind // 2 == 2)
    assert (drawn.beta[generalised] < 1).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert drawn.beta[generalised].min() >= 0.5
    assert drawn.beta[generalised].max() <= 4
    assert (drawn.beta[plateau] == 1).float().mean().item() == pytest.approx(0.5, abs=0.03)
    small = drawn.size < 13
    assert drawn.omega[small].min() >= math.pi / 3 - 1e-6
    assert drawn.omega[~small].min() < math.pi / 4


def test_final_sinc_is_a_filter_or_a_pulse() -> None:
    drawn = SincKernels().draw(uniforms(Keys(1, torch.arange(5000)), Purpose.SINC, 12))
    pulse = drawn.kind == PULSE
    assert pulse.float().mean().item() == pytest.approx(0.2, abs=0.02)
    delta = torch.zeros(21, 21)
    delta[10, 10] = 1
    assert torch.equal(drawn.kernel[pulse][0], delta)
    assert (drawn.omega >= math.pi / 3 - 1e-6).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blur_kernel_size": 8}, "odd"),
        ({"kernel_list": ("iso", "skew"), "kernel_prob": (0.5, 0.5)}, "skew"),
        ({"kernel_prob": (1.0,)}, "6 entries"),
        ({"sinc_prob": 1.2}, "sinc_prob"),
        ({"blur_sigma": (3.0, 0.2)}, "blur_sigma"),
        ({"betag_range": (1.5, 4.0)}, "contain 1"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlurKernels(**options)
