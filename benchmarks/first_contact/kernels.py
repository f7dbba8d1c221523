"""Parts 0, 1 and 8: the machine, and the fused kernels of the degradation: right, and fast."""

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from first_contact.measuring import no_waits, synchronise
from first_contact.setting import GAN, Setting

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "torch",
    "triton",
    "accelerate",
    "diffusers",
    "ema-pytorch",
    "pydantic",
    "numpy",
    "huggingface-hub",
    "datasets",
)
SOME, MORE = 0.04, 0.02
"""Largest shares of values that may differ from the reference at all, and by more than a level: as in the tests."""


def machine(setting: Setting) -> None:
    """Part 0: versions, card, and every module of the project imported."""
    record = setting.record
    record.add("machine", "python", value=sys.version.split()[0])
    for name in PACKAGES:
        try:
            record.add("machine", name, value=version(name))
        except PackageNotFoundError:
            record.add("machine", name, value="absent")
    record.add("machine", "processors", value=os.cpu_count())
    if not setting.needs_cuda("the card"):
        card = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info()
        facts = {"card": card.name, "multiprocessors": card.multi_processor_count, "CUDA": torch.version.cuda}
        facts |= {"cuDNN": torch.backends.cudnn.version(), "free GiB": free / 2**30, "GiB": total / 2**30}
        query = [
            "nvidia-smi",
            "--query-gpu=driver_version,clocks.sm,clocks.max.sm,power.limit",
            "--format=csv,noheader",
        ]
        if shutil.which(query[0]):
            facts["driver, clocks, limit"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
        for name, value in facts.items():
            record.add("machine", name, value=value)
    absent = failing_imports()
    record.add("machine", "modules that cannot be imported", value="; ".join(absent) or "none")


def failing_imports() -> list[str]:
    """The modules of the project that cannot be imported, with the reason."""
    found = []
    for package in ("degradations", "trainer"):
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if module.name.endswith("__main__") or "fused" in module.name.split("."):
                continue  # a program; and kernels that are imported only where they can run
            try:
                importlib.import_module(module.name)
            except Exception as error:  # what a missing package raises, of whatever class
                found.append(f"{module.name}: {error}"[:120])
    return found


def right(setting: Setting) -> None:
    """Part 1: the fused kernels against the reference, in a graph, twice, beside the training; then the tests."""
    checks = [agreement, repeats, graph, without_waits, beside] if setting.fused else []
    if not checks:
        setting.record.add("left out", "the fused kernels", reason="need CUDA, or --interpret")
    results = [check(setting) for check in checks]
    if not setting.needs_cuda("the tests of the kernels, compiled"):
        results.append(tests(setting))
    passed = all(results)
    setting.record.add("kernels right", "all", right=passed)
    if not passed:
        raise AssertionError("the fused kernels are not right on this device")


def crops(setting: Setting, count: int) -> Tensor:
    """Photograph-like crops of the recipe's size, uint8, on the device."""
    from degradation_sides import pictures

    side = setting.sized(400, 64)
    return (pictures(count, side) * 255).round().to(torch.uint8).to(setting.device)


def pairing(setting: Setting) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The fused degradation of the recipe, ground truth sharpened."""
    from degradation_sides import SCALE, patch

    from degradations.fused.second_order import Pairing

    config, side = setting.shipped(GAN).degradation, patch(setting.sized(400, 64)) // SCALE
    return Pairing(config=config, seed=0, scale=SCALE, side=side, sharpen_gt=True)


def positions(setting: Setting, start: int = 0) -> Tensor:
    """Positions of a batch of crops."""
    return torch.arange(start, start + setting.sized(48, 2), device=setting.device)


def agreement(setting: Setting) -> bool:
    """Shares of values that differ from the reference's; and seconds of compilation."""
    from degradation_sides import Clock, our_batch

    config, gt = setting.shipped(GAN).degradation, crops(setting, setting.sized(48, 2))
    begun = time.perf_counter()
    made = pairing(setting)(gt, positions(setting))
    synchronise(setting.device)
    setting.record.add("kernels right", "first call", seconds=time.perf_counter() - begun)
    wanted, good = our_batch(config, gt.float() / 255, 0, Clock("cpu")), True
    for name, got, reference in zip(("LQ", "GT"), made, wanted, strict=True):
        off = (got.float() - (reference * 255).round()).abs()
        some, more = (float((off > least).float().mean()) for least in (0, 1))
        good &= some < SOME and more < MORE
        setting.record.add("kernels right", f"{name} against the reference", differ=some, by_more_than_a_level=more)
        setting.record.add("kernels right", f"{name} against the reference", most=float(off.max()), right=good)
    return good


def repeats(setting: Setting) -> bool:
    """Ten further calls give bit for bit the first one's pairs: nothing races."""
    make, gt = pairing(setting), crops(setting, setting.sized(48, 2))
    first, same = make(gt, positions(setting)), True
    for _ in range(setting.sized(10, 1)):
        same &= all(torch.equal(a, b) for a, b in zip(first, make(gt, positions(setting)), strict=True))
    setting.record.add("kernels right", "repeated, bit by bit", right=same)
    return same


def graph(setting: Setting) -> bool:
    """A captured call, replayed for other positions, gives what a direct call gives."""
    if setting.needs_cuda("a CUDA graph"):
        return True
    make, gt, where = pairing(setting), crops(setting, setting.sized(48, 2)), positions(setting)
    make(gt, where)
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        made = make(gt, where)
    where += 100
    captured.replay()
    same = all(torch.equal(a, b) for a, b in zip(made, make(gt, where), strict=True))
    setting.record.add("kernels right", "as a CUDA graph", right=same)
    return same


def without_waits(setting: Setting) -> bool:
    """A call does not make the host wait."""
    make, gt, where = pairing(setting), crops(setting, setting.sized(48, 2)), positions(setting)
    reason = ""
    try:
        with no_waits(setting.device):
            make(gt, where)
    except RuntimeError as error:
        reason = str(error)[:90]
    setting.record.add("kernels right", "without a wait", right=not reason, reason=reason)
    return not reason


def beside(setting: Setting) -> bool:
    """The trainer's pairs, made on their own stream while memory that was given back is taken again."""
    from trainer.pairs.side_stream import SideStream
    from trainer.pairs.synthesis import Synthesis

    config = setting.shipped(GAN)
    synthesis = Synthesis(config.degradation, 0, config.scale, config.gt_size, gt_usm=False, degrade_gt_usm=True)
    gt, count, same = crops(setting, setting.sized(48, 2)), setting.sized(12, 1), True
    make = synthesis.synthesize_fused
    wanted = [make(gt, positions(setting, 1000 * turn)) for turn in range(count)]
    stream = SideStream(setting.device)
    for turn in range(count):
        with stream.beside():
            pairs = make(gt, positions(setting, 1000 * turn))
        pairs = stream.hand_over(pairs)
        if setting.device.type == "cuda":
            torch.cuda._sleep(2_000_000)  # training, a millisecond of it
        got = (pairs.lq.clone(), pairs.gt.clone())
        size = pairs.gt.shape
        del pairs
        torch.full(size, 9, dtype=torch.uint8, device=setting.device)  # takes memory that was given back
        same &= torch.equal(got[0], wanted[turn].lq) and torch.equal(got[1], wanted[turn].gt)
    setting.record.add("kernels right", "beside the training", right=same)
    return same


def tests(setting: Setting) -> bool:
    """The tests that need a GPU, in a process of pytest's; its output is pytest.log in the folder of the results."""
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider"]
    command += ["--confcutdir=tests/degradations", "tests/degradations"]
    command += ["-n", "8"] if find_spec("xdist") else []
    command += ["--timeout", "60"] if find_spec("pytest_timeout") else []
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with (setting.out / "pytest.log").open("w", encoding="utf-8") as log:
        try:
            status = subprocess.run(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=max(setting.left() - 5, 5),
                env=os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            status = -1
    last = ([line for line in (setting.out / "pytest.log").read_text("utf-8").splitlines() if line.strip()] or [""])[-1]
    setting.record.add("kernels right", "tests that need a GPU", right=status == 0, last_line=last.strip("= ")[:90])
    return status == 0


def alone(setting: Setting) -> None:
    """Part 8: the fused degradation by itself: as launched, with a head start of the host, and as a graph."""
    import degradation_cuda as sides
    from degradation_sides import Clock

    config = setting.shipped(GAN).degradation
    bandwidth = sides.copy_bandwidth(setting.device)
    for count in (48, 12, 24, 96) if not setting.tiny else (2,):
        whole = crops(setting, count)
        row, rounds = f"{count} crops", setting.sized(15, 1)
        if not setting.fused:
            setting.record.add("left out", f"the degradation of {row}", reason="needs CUDA, or --interpret")
            continue
        moved = sum(sides.fused_bytes(config, whole.shape[-1], count).values())
        for name, ahead in (("as_launched_ms", False), ("head_start_ms", True)):
            call = partial(sides.fused_batch, config, whole, 0, Clock("cpu"))
            spent = median(sides.seconds(call, rounds, setting.device, ahead and not setting.tiny))
            setting.record.add("degradation", row, **{name: 1e3 * spent})
        setting.record.add("degradation", row, GB=moved / 1e9, share_of_copy=moved / spent / bandwidth)
        if setting.needs_cuda("the degradation as a graph"):
            continue
        setting.record.add("degradation", row, graph_ms=1e3 * sides.graphed(config, whole, rounds))
        launches, waits, peak = sides.counted(call, setting.device)
        setting.record.add("degradation", row, launches=launches, host_waits=waits, peak_MiB=peak)
    stages(setting)


def stages(setting: Setting) -> None:
    """The stages of 48 crops, the device alone; then DRAM bytes by kernel, where Nsight Compute is installed."""
    import degradation_cuda as sides

    if not setting.fused:
        return
    config, count = setting.shipped(GAN).degradation, setting.sized(48, 2)
    whole = crops(setting, count)
    side = sides.Side("fused", partial(sides.fused_batch, config, whole), 0.0, head_start=not setting.tiny)
    for stage, spent in sides.row(side, setting.sized(10, 1), count, setting.device).items():
        setting.record.add("degradation by stage", stage, ms=1e3 * spent)
    if setting.needs_cuda("ncu") or shutil.which("ncu") is None or setting.left() < 20:
        return
    metrics = "dram__bytes.sum,gpu__time_duration.sum"
    ncu = ["ncu", "--profile-from-start", "off", "--clock-control", "none", "--csv", "--metrics", metrics]
    other(setting, [*ncu, *once(48)], "ncu-degradation.csv", setting.left() - 3)


def once(count: int) -> list[str]:
    """The program that makes one fused batch."""
    return [
        sys.executable,
        str(ROOT / "benchmarks" / "degradation.py"),
        "--device",
        "cuda",
        "--once",
        "--batch",
        f"{count}",
    ]


def sanitised(setting: Setting) -> None:
    """In place of parts 6 and 8 if the kernels are not right: the sanitizer's memory checks of a small batch."""
    if setting.needs_cuda("compute-sanitizer"):
        return
    if shutil.which("compute-sanitizer") is None:
        setting.record.add("left out", "compute-sanitizer", reason="not installed")
        return
    for tool in ("memcheck", "racecheck"):
        command = ["compute-sanitizer", "--tool", tool, *once(2)]
        other(setting, command, f"sanitizer-{tool}.txt", (setting.left() - 4) / (2 if tool == "memcheck" else 1))


def other(setting: Setting, command: list[str], name: str, limit: float) -> None:
    """Run another program, its output in a file of the results; record its status and last line."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with (setting.out / name).open("w", encoding="utf-8") as file:
        run = partial(subprocess.run, stdout=file, stderr=subprocess.STDOUT, timeout=limit)
        try:
            status: object = run(command, env=os.environ | {"PYTHONPATH": paths}).returncode
        except subprocess.TimeoutExpired:
            status = f"over {limit:.0f} s"
    last = ([line for line in (setting.out / name).read_text("utf-8").splitlines() if line.strip()] or [""])[-1]
    setting.record.add("other programs", name, status=status, last_line=last.strip()[:120])
