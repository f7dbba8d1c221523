"""The fused two-order degradation against the reference for the same recipes, and how it is chosen.

Between two JPEGs the smallest difference may round a pixel, and then a coefficient, the other way: so pixels that
differ are counted, and few may.
"""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")
from triton.compiler.errors import CompilationError
from triton.runtime.errors import OutOfResources

from degradations import Keys, Pipeline, SecondOrder, draw_crops, eligible, paired_crop, uniforms, usm_sharpen
from degradations.fused import dispatch, switch
from degradations.fused import second_order as batched
from degradations.fused import steps as fused_steps
from degradations.fused.canvas import Canvas
from degradations.fused.trial import compare, explain_failure, try_degradation, try_step
from degradations.operations import pipeline_steps as steps
from degradations.operations.camera import Camera
from degradations.operations.operation import Operation, OperationContext

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def crops(picture: Tensor, count: int, bands: int, height: int, width: int) -> Tensor:
    """uint8 [count, bands, height, width] out of a photograph."""
    levels = (picture * 255).to(torch.uint8)[[0, 1, 2, 0][:bands]]
    rows, columns = 120 - height + 1, 160 - width + 1
    return torch.stack(
        [levels[:, (7 * i) % rows :, (11 * i) % columns :][:, :height, :width] for i in range(count)]
    ).contiguous()


def differing(got: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Shares of pixels that differ at all, and by more than one level."""
    difference = (got.cpu().float() - (wanted * 255).round()).abs()
    return float((difference > 0).float().mean()), float((difference > 1).float().mean())


@pytest.mark.parametrize(("bands", "scale", "options"), [(3, 4, {}), (1, 2, {"resize": "realesrgan"}), (4, 1, {})])
def test_pairs_are_the_references(
    bands: int, scale: int, options: dict[str, str], picture: Tensor, fused_device: torch.device
) -> None:
    config, side = SecondOrder(**options), 8
    # one rounding may spoil a block of a JPEG, which is a whole picture here: a GPU has the time for more of them
    count = 64 if torch.cuda.is_available() else 2 if bands == 3 else 1
    positions = 7 + torch.arange(count) * (2**33 - 6)
    clean = crops(picture, len(positions), bands, 16 + 8 * scale, 20 + 4 * scale)
    height, width = clean.shape[-2:]
    pairing = batched.Pairing(config=config, seed=5, scale=scale, side=side, sharpen_gt=bands == 3)
    lq, gt = pairing(clean.to(fused_device), positions.to(fused_device))
    keys = Keys(5, positions)
    sharp = usm_sharpen(clean / 255) if bands == 3 else clean / 255
    degraded = config.apply(sharp, config.draw(keys, height, width, scale))
    wanted = paired_crop(degraded, sharp, *draw_crops(keys, height // scale, width // scale, side), side, scale)
    assert lq.dtype == gt.dtype == torch.uint8
    assert max(differing(lq, wanted[0])) < (0.02 if count < 3 else 0.06)
    some, more = differing(gt, wanted[1])
    assert some < 0.005
    assert more < 1e-4  # a residual on the edge of the mask


def test_the_trainers_pairs(picture: Tensor, fused_device: torch.device) -> None:
    """As `trainer.pairs.synthesis` asks for them: sharpened for the degradation alone, positions on the CPU."""
    made_by = pytest.importorskip("trainer.pairs.synthesis", exc_type=ImportError).Synthesis(
        SecondOrder(), seed=4, scale=4, gt_size=24, gt_usm=False, degrade_gt_usm=True
    )
    positions = 11 + torch.arange(64 if torch.cuda.is_available() else 1)
    clean = crops(picture, len(positions), 3, 32, 32)
    got, wanted = made_by.synthesize_fused(clean.to(fused_device), positions), made_by.synthesize(clean, positions)
    assert torch.equal(got.gt.cpu(), wanted.gt)
    assert torch.equal(got.positions.cpu(), positions)
    assert (got.lq.cpu() != wanted.lq).float().mean() < (0.02 if len(positions) == 1 else 0.06)


UNUSUAL = SecondOrder(
    resize_prob=(0.31, 0.0, 0.77),
    resize_range=(0.37, 1.9),
    noise_prob=0.83,
    noise_range2=(3.3, 3.3),
    gray_noise_prob2=0.7,
    jpeg_range=(1, 100),
    jpeg_range2=(41.6, 42.4),
    second_blur_prob=0.47,
    blur_kernel_size=9,
    blur_kernel_size2=13,
    kernel_list=("plateau_aniso", "iso", "generalized_aniso", "iso"),
    kernel_prob=(0.3, 0.0, 0.3, 1.1),
    kernel_list2=("generalized_iso",),
    kernel_prob2=(2.0,),
    sinc_prob=0.6,
    blur_sigma2=(0.7, 0.7),
    final_sinc_prob=0.33,
)


@pytest.mark.parametrize(
    ("config", "seed", "count", "size", "scale"),
    [
        (SecondOrder(), 3, 40, (64, 80), 4),
        (SecondOrder(draws="batch"), 2**64 - 9, 6, (51, 33), 3),
        (UNUSUAL, 0x9E3779B97F4A7C15, 70, (40, 72), 2),
        (replace(UNUSUAL, draws="batch"), 0, 1, (24, 16), 1),
    ],
)
def test_the_recipe_is_the_references(
    config: SecondOrder, seed: int, count: int, size: tuple[int, int], scale: int, fused_device: torch.device
) -> None:
    """All numbers but those of blur kernels agree to the last bit."""
    keys = Keys(seed, torch.arange(count).flip(0) * 3_000_000_007)
    wanted = config.draw(keys, *size, scale).as_dict()
    recipe, corners = batched.draw(config, Keys(seed, keys.positions.to(fused_device)), *size, scale, 8)
    got = recipe.to("cpu").as_dict()
    lq = (size[0] // scale, size[1] // scale)
    for place, expected in zip(corners, draw_crops(keys, *lq, 8), strict=True):
        assert torch.equal(place.cpu(), expected)
    for name, value in wanted.items():
        if name.endswith("kernel"):
            assert (got[name] - value).abs().max() < 2e-6, name
        elif isinstance(value, Tensor):
            assert got[name].dtype == value.dtype, name
            assert torch.equal(got[name], value), name
        else:
            assert got[name] == value, name


@pytest.mark.parametrize("bands", [1, 3])
def test_which_pictures_are_taken(bands: int, fused_device: torch.device) -> None:
    assert not eligible.supports(SecondOrder(), torch.zeros(1, bands, 8, 8, dtype=torch.uint8))
    assert try_degradation(SecondOrder(), fused_device, bands, count=1) == ""


def test_a_step_of_a_pipeline_is_tried(fused_device: torch.device) -> None:
    assert try_step(steps.ResizeStep(resize_range=(0.2, 1.0)), fused_device, 1, count=1) == ""


def test_kernels_that_cannot_be_launched_end_the_run(fused_device: torch.device) -> None:
    """A failure before the launch is raised: falling back to the reference would hide it by slow training."""
    sentence = (
        rf"^The fused kernels .* cannot be compiled or launched for {fused_device} by Triton [\d.]+: ValueError: no "
        r"fused kernel for jpeg: realesrgan\. Until that is mended, start again with WILDSR_FUSED=0 .* pairs\.$"
    )
    with pytest.raises(switch.KernelsUnusable, match=sentence):
        try_degradation(SecondOrder(jpeg="realesrgan"), fused_device, 3)


CPU = torch.device("cpu")
FAULT = CompilationError("def f():\n    x", ast.parse("def f():\n    x").body[0].body[0], "x is not defined")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            SyntaxError("duplicate argument 'options' in function definition"),
            "SyntaxError: duplicate argument 'options'",
        ),
        (FAULT, "CompilationError: x is not defined"),
        (RuntimeError("PassManager::run failed"), "RuntimeError: PassManager::run failed"),
        (RuntimeError("Failed to find C compiler.\nSet CC"), "RuntimeError: Failed to find C compiler"),
        (OutOfResources(9, 4, "shared memory"), "OutOfResources: out of resource: shared memory, Required: 9"),
    ],
)
def test_a_compilers_failure_is_no_excuse(error: Exception, reason: str) -> None:
    with pytest.raises(switch.KernelsUnusable, match=reason):
        explain_failure(error, CPU)
    nested = RuntimeError("at 7:3:\n    f()\n    ^")
    nested.__cause__ = error
    with pytest.raises(switch.KernelsUnusable, match=reason):
        explain_failure(nested, CPU)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("Triton Error [CUDA]: device kernel image is invalid"),
            "RuntimeError: Triton Error [CUDA]: device",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "OutOfMemoryError: CUDA out of memory"),
        (
            torch.AcceleratorError("CUDA error: misaligned address\nMore"),
            "AcceleratorError: CUDA error: misaligned address",
        ),
    ],
)
def test_a_devices_failure_leaves_the_reference(error: Exception, reason: str) -> None:
    def work() -> None:
        raise error

    assert explain_failure(error, CPU).startswith(f"in a trial on cpu they failed: {reason}")
    assert dispatch.failure_of(CPU, work) == explain_failure(error, CPU)
    assert dispatch.failure_of(CPU, lambda: None) == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="pointers of meta tensors are 0: all that follows would fail")
def test_kernels_that_break_the_device() -> None:
    """A device that computes nothing after the failure, as a GPU after an illegal access."""
    sentence = r"^No fused kernels .* in a trial on meta they failed: \w+: .+ Start it again with WILDSR_FUSED=0 "
    with pytest.raises(switch.DeviceBroken, match=sentence):
        try_degradation(SecondOrder(), torch.device("meta"), 3)


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    device, blur = torch.device("cpu"), steps.BlurStep(prob=0.654)
    monkeypatch.setenv("WILDSR_FUSED", "0")
    assert eligible.unsupported_reason(SecondOrder(), torch.uint8, device, 3) == "WILDSR_FUSED=0"
    assert dispatch.unsupported_step_reason(blur, device, 3) == "WILDSR_FUSED=0"
    assert (
        eligible.describe_path(SecondOrder(), torch.uint8, torch.device("cuda"), 3)
        == "by the reference: WILDSR_FUSED=0"
    )
    monkeypatch.setenv("WILDSR_FUSED", "off")
    with pytest.raises(ValueError, match="WILDSR_FUSED must be 0 or 1, got 'off'"):
        eligible.unsupported_reason(SecondOrder(), torch.uint8, device, 3)
    monkeypatch.setenv("WILDSR_FUSED", "1")
    without = SecondOrder(antialias=True, sinc_prob=0.3)  # which no other test asks for: each is said once
    assert eligible.unsupported_reason(without, torch.uint8, device, 3) == "there is no kernel for antialias: true"


@pytest.fixture
def _turned_on() -> Iterator[None]:
    """Kernels that a test turns off are on again after it."""
    yield
    switch.turn_off("")
    switch._off.clear()


@pytest.mark.usefixtures("_turned_on")
def test_kernels_turned_off() -> None:
    """In the middle of a process, whatever reasons were cached before."""
    gpu, pipeline = torch.device("cuda"), Pipeline(steps=(steps.FitStep(antialias=True), Camera(prob=0.7), Camera()))
    said = "step by step: fit, camera by the reference (there is no kernel for it)"
    assert eligible.describe_path(pipeline, torch.uint8, gpu, 3) == said
    switch.turn_off("rank 1 cannot")
    for config in (pipeline, SecondOrder()):
        assert eligible.describe_path(config, torch.uint8, gpu, 3) == "by the reference: rank 1 cannot"


def test_what_a_cpu_does_is_said() -> None:
    said = eligible.describe_path(SecondOrder(), torch.uint8, CPU, 3)
    assert said == "by the reference: fused kernels are for GPUs, and this is cpu"


def test_a_trial_forgives_rounding_and_nothing_more() -> None:
    wanted = [torch.zeros(8, 3, 24, 24, dtype=torch.uint8), torch.full((8, 3, 48, 48), 100, dtype=torch.uint8)]
    rounded, spoilt = ([part.clone() for part in wanted] for _ in range(2))
    rounded[0][0], rounded[1] = 9, rounded[1] + 1
    spoilt[1][:, 1] = 98
    assert compare(wanted, rounded) == ""
    assert compare(wanted, spoilt) == "in a trial 33 % of the values were not the reference's"


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert eligible.unsupported_reason(SecondOrder(), torch.uint8, torch.device("cpu"), 3) == "Triton is not installed"
    assert dispatch.unsupported_step_reason(steps.BlurStep(prob=0.321), CPU, 3) == "Triton is not installed"


@pytest.mark.parametrize(
    ("config", "dtype", "reason"),
    [
        (SecondOrder(jpeg="realesrgan"), torch.uint8, "jpeg: realesrgan"),
        (SecondOrder(antialias=True), torch.uint8, "antialias: true"),
        (SecondOrder(blur_kernel_size2=35), torch.uint8, "blur kernels above 33 pixels"),
        (SecondOrder(value_range=(0, 10000)), torch.uint8, r"value_range: \[0, 10000\]"),
        (SecondOrder(), torch.uint16, "uint16"),
        (Pipeline(steps=(steps.FitStep(),)), torch.uint8, "type: pipeline"),
    ],
)
def test_what_is_not_taken_is_said_once(
    config: SecondOrder, dtype: torch.dtype, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert eligible.unsupported_reason(config, dtype, torch.device("cpu"), 3)
    assert len(caplog.messages) == 1
    assert re.search(reason, caplog.messages[0])
    if isinstance(config, SecondOrder) and dtype == torch.uint8:
        with pytest.raises(ValueError, match=reason):
            batched.Pairing(config=config, seed=0, scale=4, side=8)


STEPS = (
    steps.BlurStep(sinc_prob=0.5),
    steps.ResizeStep(resize_range=(0.4, 1.4)),
    steps.FitStep(),
    steps.NoiseStep(),
    steps.JpegStep(),
)


@pytest.mark.parametrize("operation", STEPS, ids=lambda operation: operation.type)
def test_steps_of_a_pipeline(operation: Operation[Any], picture: Tensor, fused_device: torch.device) -> None:
    images = [picture[:, :24, :30] * 0.99, picture[:, 20:37, 5:27]]
    recipe = operation.draw(uniforms(Keys(2, torch.arange(2)), 16, 12))
    context = OperationContext(Keys(2, torch.arange(2)), 17, (7, 9))
    step = fused_steps.fused_form(operation)
    assert step is not None
    got = fused_steps.run(operation, step, [image.to(fused_device) for image in images], recipe, context)
    for image, wanted in zip(got, operation.apply(images, recipe, context), strict=True):
        assert ((image.cpu() - wanted).abs() * 255 > 2e-3).float().mean() < 2e-3


def test_steps_without_kernels_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for operation in (Camera(prob=0.123), steps.JpegStep(subsampling="4:4:4"), steps.FitStep(antialias=True)) * 2:
            assert dispatch.unsupported_step_reason(operation, CPU, 3) == "there is no kernel for it"
    assert len(caplog.messages) == 3
    assert "Camera" in caplog.messages[0]


@pytest.mark.gpu
@on_gpu
def test_a_general_pipeline(picture: Tensor) -> None:
    """By fused steps and, for the camera, by the reference."""
    blurred = (steps.BlurStep(), steps.ResizeStep(), Camera(), steps.NoiseStep(), steps.FitStep(), steps.JpegStep())
    pipeline, clean = Pipeline(steps=blurred), crops(picture, 16, 3, 64, 96) / 255
    recipe = pipeline.draw(Keys(1, torch.arange(16)), 64, 96, 4)
    got = (pipeline.apply(clean.cuda(), recipe) * 255).round()
    assert eligible.describe_path(pipeline, torch.uint8, torch.device("cuda"), 3) == (
        "step by step: blur, resize, noise, fit, jpeg by fused kernels; "
        "camera by the reference (there is no kernel for it)"
    )
    assert max(differing(got, pipeline.apply(clean, recipe))) < 0.05


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_hundreds_of_recipes(bands: int, picture: Tensor) -> None:
    config, shares = SecondOrder(), []
    for seed, (height, width, scale) in enumerate([(96, 128, 4), (64, 96, 2), (120, 120, 8), (40, 56, 1)]):
        clean, keys = crops(picture, 32, bands, height, width), Keys(seed, torch.arange(32))
        recipe, _ = batched.draw(config, Keys(seed, keys.positions.cuda()), height, width, scale, 8)
        got = batched.apply(config, Canvas.full(clean.cuda()), recipe).pixels.clamp(0, 255).round()
        wanted = config.apply(clean / 255, config.draw(keys, height, width, scale))
        shares.append(differing(got, wanted))
    some, more = torch.tensor(shares).mean(0).tolist()
    assert some < 0.04, shares
    assert more < 0.02, shares


@pytest.mark.gpu
@on_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_no_wait_and_a_graph(picture: Tensor) -> None:
    """No call synchronises, and a captured call replayed with other samples gives what a direct call gives."""
    pairing = batched.Pairing(config=SecondOrder(), seed=5, scale=4, side=16, sharpen_gt=True)
    clean, positions = crops(picture, 8, 3, 96, 128).cuda(), torch.arange(8, device="cuda")
    pairing(clean, positions)  # compiles, and fills the tables
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pairing(clean, positions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = pairing(clean, positions)
    positions += 100
    graph.replay()
    for got, wanted in zip(captured, pairing(clean, positions), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.gpu
@on_gpu
def test_on_a_stream_of_its_own(picture: Tensor) -> None:
    pairing = batched.Pairing(config=SecondOrder(), seed=5, scale=4, side=16)
    clean = crops(picture, 8, 3, 96, 128).cuda()
    batches = [torch.arange(8, device="cuda") + 8 * i for i in range(6)]
    wanted = [pairing(clean, positions) for positions in batches]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        made = [pairing(clean, positions) for positions in batches]
    torch.cuda.current_stream().wait_stream(stream)
    for got, expected in zip(made, wanted, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.gpu
@on_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_pairs_that_the_trainer_makes_on_a_stream_of_their_own(picture: Tensor) -> None:
    """On their stream, without a wait, and kept while they are trained on though others are made meanwhile."""
    side_stream = pytest.importorskip("trainer.pairs.side_stream", exc_type=ImportError)
    synthesis = pytest.importorskip("trainer.pairs.synthesis", exc_type=ImportError)
    made_by = synthesis.Synthesis(SecondOrder(), seed=4, scale=4, gt_size=64, gt_usm=True)
    clean, batches = crops(picture, 8, 3, 96, 128).pin_memory(), [torch.arange(8) + 8 * i for i in range(12)]
    wanted = [made_by.synthesize(clean.cuda(), positions) for positions in batches]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    got = []
    try:
        side = side_stream.SideStream(torch.device("cuda", torch.cuda.current_device()))
        for positions in batches:
            with side.beside():
                pairs = made_by.synthesize(clean.cuda(non_blocking=True), positions)
            pairs = side.hand_over(pairs)
            torch.cuda._sleep(2_000_000)  # training, a millisecond of it
            got.append((pairs.lq.clone(), pairs.gt.clone()))
            del pairs
            torch.full((8, 3, 64, 64), 9, dtype=torch.uint8, device="cuda")  # takes memory that was given back
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(got) == len(wanted)
    for (lq, gt), pairs in zip(got, wanted, strict=True):
        assert torch.equal(lq, pairs.lq)
        assert torch.equal(gt, pairs.gt)
