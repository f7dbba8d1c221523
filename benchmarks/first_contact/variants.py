"""Part 5, variants of the training step made on the trainer's own objects, and part 10, the best against the rest."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from first_contact.records import kept
from first_contact.setting import GAN, Setting
from first_contact.trained import Trained, profile_of, speed, warm
from trainer.optim.compiling import compile_in_place


def networks(trained: Trained) -> list[nn.Module]:
    """All networks of a step: those that learn, the average, and the losses'."""
    model = trained.run.model
    found = [learner.net for learner in model.state.learners.values()] + [model.state.ema.ema_model]
    return [*found, *([model.objective.perceptual] if model.objective.perceptual else [])]


def channels_first(trained: Trained) -> None:
    """Weights and inputs of all networks as NCHW, where the trainer has NHWC; moments follow the weights."""

    def as_nchw(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.contiguous() if x.ndim == 4 else x for x in given)

    for net in networks(trained):
        net.to(memory_format=torch.contiguous_format)
        net.register_forward_pre_hook(as_nchw)


def compiled(trained: Trained) -> None:
    """`compile: true` of the configuration, which the trainer applies to the networks that learn."""
    for learner in trained.run.model.state.learners.values():
        compile_in_place(learner.net)


def compiled_losses(trained: Trained) -> None:
    """VGG19 compiled too."""
    if perceptual := trained.run.model.objective.perceptual:
        compile_in_place(perceptual.seen)


def tuned_cudnn(_: Trained) -> None:
    """cuDNN may choose algorithms by timing them, those that add atomically too: not repeatable bit by bit."""
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True


def timed_cudnn(_: Trained) -> None:
    """cuDNN chooses among its deterministic algorithms by timing them."""
    torch.backends.cudnn.benchmark = True


CHANGES: dict[str, Callable[[Trained], None]] = {
    "channels_first": channels_first,
    "compile": compiled,
    "compile_losses": compiled_losses,
    "cudnn_benchmark": timed_cudnn,
    "cudnn_free": tuned_cudnn,
}
"""Changes by name; part 10 also takes overrides of the configuration, `key=value`, all joined by +."""

VARIANTS = (
    "", "channels_first", "compile+compile_losses", "channels_first+compile", "cudnn_free", "cudnn_benchmark",
    "channels_first+cudnn_free",
)  # fmt: skip


def variant(setting: Setting, text: str, batch: int, name: str) -> Trained:
    """A run of `batch` pairs at once with changes and overrides."""
    words = [word for word in text.split("+") if word]
    overrides = [word for word in words if "=" in word]
    changes = [CHANGES[word] for word in words if "=" not in word]

    def change(trained: Trained) -> None:
        for each in changes:
            each(trained)

    pool = f"queue_size={setting.sized(96, 4)}"
    return Trained(setting.config(GAN, batch, batch, name, pool, *overrides), change)


def all_variants(setting: Setting) -> None:
    """Part 5: each variant at 48 pairs at once, as long as there is time."""
    batch = setting.sized(48, 2)
    for number, text in enumerate(("+".join(CHANGES),) if setting.tiny else VARIANTS):
        row = text or "as it is"
        if setting.left() < 8:
            setting.record.add("variants", row, failed="no time was left")
            continue
        measured(setting, text, batch, row, "variants", f"variant-{number}")
        if "compile" in text and not setting.needs_cuda("the compiler's artifacts"):
            save_artifacts(setting)  # at once: the next variant may take too long


def save_artifacts(setting: Setting) -> None:
    """Keep what was compiled, for part 10 on another machine of the kind."""
    if saved := torch.compiler.save_cache_artifacts():
        (setting.out / ARTIFACTS).write_bytes(saved[0])
        kept(setting, setting.out / ARTIFACTS)


ARTIFACTS = "inductor.bin"


def measured(setting: Setting, text: str, batch: int, row: str, table: str, name: str) -> None:
    """Record the speed of a variant, and what its compilation took."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    trained = None
    try:
        trained = variant(setting, text, batch, name)
        begun = time.perf_counter()
        warm(trained, 1)
        setting.record.add(table, row, first_step_s=time.perf_counter() - begun)
        warm(trained, setting.sized(3, 1))
        before = counters["stats"]["unique_graphs"]
        figures = speed(trained, setting.sized(8, 1))
        recompiled = counters["stats"]["unique_graphs"] - before
        setting.record.add(table, row, **figures, graphs=before, compiled_again=recompiled)
        setting.record.add(table, row, **setting.share(GAN, figures["images_s"]))
    except Exception as error:  # memory, or a compiler: the next variant can do without
        setting.record.add(table, row, failed=f"{type(error).__name__}: {error}"[:120])
    if trained:
        trained.close()
    set_back()


def set_back() -> None:
    """The numerics of the process as the trainer sets them, which the next run does not all set again."""
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def best(setting: Setting) -> None:
    """Part 10: a variant against the trainer as it is, each twice in turn, by batch; its profile; counters of ncu."""
    file = setting.out / ARTIFACTS
    if file.exists() and not setting.needs_cuda("the compiler's artifacts"):
        torch.compiler.load_cache_artifacts(file.read_bytes())
    for batch in (48, 12, 96, 24) if not setting.tiny else (2,):
        for turn in (1, 2):
            for text in ("", setting.variant):
                row = f"{text or 'as it is'}, batch {batch}, turn {turn}"
                if setting.left() < 60 and not setting.tiny:
                    setting.record.add("the best variant", row, failed="no time was left")
                    continue
                measured(setting, text, batch, row, "the best variant", f"best-{batch}-{turn}-{len(text)}")
    trained = variant(setting, setting.variant, setting.sized(48, 2), "profiled")
    warm(trained, setting.sized(4, 1))
    profile_of(trained, setting, setting.variant or "as it is")
    trained.close()
    if not setting.needs_cuda("ncu"):
        counters_of(setting)


def few_steps(setting: Setting) -> None:
    """Part 11, for a profiler around the program: five steps of a variant."""
    warm(variant(setting, setting.variant, setting.sized(48, 2), f"few-{time.time_ns()}"), setting.sized(5, 1))


def counters_of(setting: Setting) -> None:
    """Nsight Compute's counters of the variant's three longest kernels, where it is installed and time is left."""
    from first_contact.record import read

    table = f"longest kernels, {setting.variant or 'as it is'}"
    names = [line["row"] for line in read(setting.record.file) if line["table"] == table][:3]
    for number, name in enumerate(names):
        if shutil.which("ncu") is None or setting.left() < 20:
            setting.record.add("left out", f"ncu of {name}", reason="not installed, or no time was left")
            continue
        ncu = ["ncu", "--clock-control", "none", "--csv", "--kernel-name-base", "demangled", "--launch-count", "1"]
        ncu += ["--launch-skip", "20", "-k", f"regex:{literal(name)}", "--section", "SpeedOfLight"]
        output = setting.out / f"ncu-{number}.csv"
        alone(setting, 11, ncu, output, min(setting.left() - 5, 40))


def literal(name: str) -> str:
    """The start of a kernel's name as a regular expression."""
    return "".join(letter if letter.isalnum() else "." for letter in name[:60])


def alone(setting: Setting, part: int, before: list[str], output: Path, limit: float) -> None:
    """Run a part of this program under another one, its output in a file."""
    command = [*before, sys.executable, str(Path(__file__).parent), "--out", str(setting.out), "--alone", str(part)]
    command += ["--scratch", str(setting.scratch), "--variant", setting.variant, *(["--rehearse"] * setting.tiny)]
    with output.open("w", encoding="utf-8") as file:
        run = partial(subprocess.run, command, stdout=file, stderr=subprocess.STDOUT, timeout=limit)
        try:
            status: object = run().returncode
        except subprocess.TimeoutExpired:
            status = f"over {limit:.0f} s"
    setting.record.add("other programs", output.name, status=status)
