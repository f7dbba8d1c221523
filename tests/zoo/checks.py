"""Seven checks of an architecture of the zoo, from nothing but a file with random weights, and three more."""

import json
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from tests.faults.forked import TINY, Job
from tests.zoo.toys import TOYS
from trainer.export.__main__ import main
from trainer.networks import SpandrelGeneratorConfig
from trainer.networks.layers.recomputing import repeated_blocks
from trainer.networks.loading.state_dicts import read_state_dict
from trainer.networks.zoo.detection import detected
from trainer.networks.zoo.generator import SpandrelNetwork
from trainer.networks.zoo.table import Arch

STEPS, KILLED_AFTER = 20, 11
SETTINGS = (
    "images.crop_size=64",
    "gt_size=64",
    "gt_usm=false",
    "queue_size=0",
    "degradation={type: pipeline, steps: [{type: fit}]}",
    f"max_train_steps={STEPS}",
    "checkpoints.checkpointing_steps=10",
    "validation=null",
    "telemetry.report_to=none",
)
ROUNDING = 1e-4
"""Largest distance between two runs' weights, as a share of how far they moved, that is taken for rounding.

One rank computes as many pictures at a time as each of two: else rounding differs in the first step, and Adam makes
whole steps of it where a gradient is nearly 0, of RealCUGAN's as much as 7 % in 20 steps.
"""
LONGEST, LONGEST_EXPORT = 400, 25
"""Seconds for all checks of an architecture, and for its ONNX: the exporter's passes over graphs with shifted windows
take minutes."""


@dataclass
class Row:
    """What was found of one architecture; each entry is `ok`, a figure or the reason."""

    arch: Arch
    checks: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """Of the CPUs."""

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [name for name, found in self.checks.items() if found.startswith("FAILED")]


class ZooCheck:
    """Runs of one architecture in a folder."""

    def __init__(self, arch: Arch, folder: Path) -> None:
        self.arch, self.folder = arch, folder
        folder.mkdir(parents=True)
        self.net = SpandrelGeneratorConfig(arch=arch, arguments=TOYS[arch]).build(4, 3)
        self.file = folder / "random.pth"
        torch.save({"params_ema": self.net.state_dict()}, self.file)
        self.initial = {f"generator {name}": value.clone() for name, value in self.net.state_dict().items()}
        self.normed = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.net.modules())

    def arguments(self, name: str) -> list[str]:
        """The command line of a run that begins with the file."""
        section = json.dumps({"type": "spandrel", "arch": self.arch, "arguments": TOYS[self.arch]})
        return [
            *[str(TINY), *SETTINGS, f"generator={section}", f"init.generator={self.file}"],
            f"batch.global_size={4 if self.normed else 2}",  # a rank's BatchNorm needs two
            *[f"output_dir={self.folder}", f"name={name}", f"batch.per_device={2 if self.normed else 1}"],
        ]

    def train(self, name: str, world: int = 1) -> dict[str, Tensor]:
        """Run to the end; the final weights, and the average's."""
        job = Job(world, self.folder / f"{name}.log", self.arguments(name))
        codes = job.wait(240)
        job.end()
        if codes != [0] * world:
            raise RuntimeError(f"{name}: {codes}: {(self.folder / f'{name}.log').read_text()[-400:]}")
        newest = max((self.folder / name / "checkpoints").glob("step-????????"))
        return {
            f"{part} {key}": value
            for part in ("generator", "generator_ema")
            for key, value in safetensors.torch.load_file(newest / f"{part}.safetensors").items()
        }

    def kill(self, name: str) -> int:
        """Begin a run and kill it after a checkpoint; the number of steps that it had reported."""
        job = Job(1, self.folder / f"{name}.log", self.arguments(name))
        metrics, deadline = self.folder / name / "metrics.jsonl", time.monotonic() + 240
        done = 0
        while done < KILLED_AFTER and time.monotonic() < deadline and job.wait(0) is None:
            done = len(metrics.read_text().splitlines()) if metrics.is_file() else 0
        job.kill(0)
        job.wait(10)
        return done


def check(arch: Arch, folder: Path) -> Row:
    """The checks of one architecture; a check that fails says why, and the others go on."""
    row, one = Row(arch), ZooCheck(arch, folder)
    whole = one.train("whole")
    row.checks["trains"] = verdict(all(bool(value.isfinite().all()) for value in whole.values()))
    killed = one.kill("killed")
    row.checks["killed"] = verdict(KILLED_AFTER <= killed < STEPS, f"at {killed}")
    resumed = one.train("killed")
    row.checks["resumes"] = verdict(all(torch.equal(value, resumed[name]) for name, value in whole.items()))
    ranks = one.train("ranks", world=2)
    apart = distance(one.net, whole, ranks) / distance(one.net, whole, one.initial)
    row.checks["2 ranks"] = verdict(apart <= ROUNDING, f"{apart:.0e}")
    row.checks |= exported(one)
    row.checks |= {"bf16": in_bf16(one.net), "checkpointing": recomputed(one.net), "compile": compiled(one.net)}
    spent = os.times()
    row.seconds = spent.user + spent.system + spent.children_user + spent.children_system
    return row


def distance(net: nn.Module, one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Euclidean distance of the learnt weights of two runs."""
    names = {f"generator {name.removeprefix('net.')}" for name, _ in net.named_parameters(remove_duplicate=False)}
    return sum(float((one[name] - other[name]).square().sum()) for name in names if name in one) ** 0.5


def check_aside(arch: Arch, folder: Path) -> Row:
    """`check` in a process of its own, whose compilers' threads no later fork meets."""
    folder.mkdir(parents=True)
    found = folder / "row.json"

    def work(_: Sequence[str]) -> int:
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of some architectures
        row = check(arch, folder / "runs")
        found.write_text(json.dumps([row.checks, row.seconds]))
        return 0

    job = Job(1, folder / "log", [], work)
    ended = job.wait(LONGEST)
    job.end()
    if ended is None:
        return Row(arch, {"trains": f"FAILED: longer than {LONGEST} s for all checks"})
    if not found.is_file():
        return Row(arch, {"trains": f"FAILED {' '.join((folder / 'log').read_text().split())[-300:]}"})
    return Row(arch, *json.loads(found.read_text()))


def verdict(right: bool, words: str = "") -> str:
    """`ok` and a figure, or FAILED and it."""
    return f"{'ok' if right else 'FAILED'} {words}".strip()


def exported(one: ZooCheck) -> dict[str, str]:
    """The released files: safetensors, opened by spandrel under its right name, and ONNX."""
    run, found = one.folder / "whole", {}
    if reason := export(run, "safetensors"):
        return {"export": verdict(False, reason)}
    (file,) = (run / "safetensors").glob("*.safetensors")
    found["export"] = "ok"
    tensors = read_state_dict(str(file), "file").tensors
    net = detected(tensors, "file").eval()
    own = SpandrelNetwork.from_pretrained(run / "export").eval()
    x, weights = torch.rand(1, 3, 32, 40), own.state_dict()
    same = net.config.arch == one.arch and all(torch.equal(weights[name], t) for name, t in net.state_dict().items())
    with torch.no_grad():  # rounding follows where the weights lie in memory
        off = float((net(x) - own(x)).abs().max())
    found["spandrel"] = verdict(same and off < 1e-6, f"{net.config.arch} {off:.0e}" if off or not same else "")
    reason = export(run, "onnx")
    found["ONNX"] = f"no: {reason}" if reason else "ok"
    return found


def export(folder: Path, form: str) -> str:
    """Export a run in a process of its own, whose threads no later fork meets; its error, or nothing."""
    log = folder.parent / f"{form}.log"
    job = Job(1, log, [str(folder), "--to", form, "--out", str(folder / form)], main)
    codes = job.wait(LONGEST_EXPORT)
    job.end()
    if codes is None:
        return f"takes longer than {LONGEST_EXPORT} s to trace"
    said = next((line for line in log.read_text().splitlines() if line.startswith("error: ")), f"status {codes}")
    return "" if codes == [0] else said.removeprefix("error: ")[:90]


def passed(net: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The result and the gradients of a pass in training, with the same draws each time."""
    torch.manual_seed(0)
    net.train().zero_grad()
    out: Tensor = net(x)
    out.float().square().mean().backward()
    return out.detach().float(), [p.grad.clone() for p in net.parameters() if p.grad is not None]


def in_bf16(net: nn.Module) -> str:
    """How far results under bf16 autocast are off those of float32, in the range of the latter."""
    x = torch.rand(2, 3, 32, 32)
    plain, _ = passed(net, x)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            half, gradients = passed(net, x)
    except Exception as error:  # an operation that has no such kernel
        return f"no: {type(error).__name__}"
    finite = bool(half.isfinite().all()) and all(bool(g.isfinite().all()) for g in gradients)
    off = float((half - plain).abs().mean() / plain.std())
    return f"{'yes' if finite and off < 0.1 else 'no'} {off:.0e}"


def recomputed(net: SpandrelNetwork) -> str:
    """Equality of gradients with the repeated blocks computed again, and how many there are."""
    blocks = len(list(repeated_blocks(net)))
    if not blocks:
        return "no blocks"
    x = torch.rand(2, 3, 32, 32)
    _, plain = passed(net, x)
    net.enable_gradient_checkpointing()
    try:
        _, again = passed(net, x)
    finally:
        net.disable_gradient_checkpointing()
    right = all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    return verdict(right, f"{blocks} blocks")


def compiled(net: nn.Module) -> str:
    """The number of graphs of a forward pass under dynamo."""
    torch._dynamo.reset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explained = torch._dynamo.explain(net.eval())(torch.rand(1, 3, 32, 32))
    except Exception as error:  # dynamo's
        return f"no: {type(error).__name__}"
    count = int(explained.graph_count)
    return f"yes, {count} graph{'s' * (count != 1)}"


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of the rows."""
    names = list(rows[0].checks)
    lines = [f"| architecture | {' | '.join(names)} | s |", f"|---|{'---|' * len(names)}--:|"]
    for row in rows:
        cells = [row.checks.get(name, "") for name in names]
        lines.append(f"| {row.arch} | {' | '.join(cells)} | {row.seconds:.0f} |")
    return "\n".join(lines)
