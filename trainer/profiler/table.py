"""The table of a profile: the parts of a step and what they take, and the operators that take most."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch.autograd import DeviceType  # type: ignore[attr-defined]

PARTS = {
    "data": "waiting for data",
    "degradation": "degradation",
    "pool": "pool",
    "mixing": "mixing",
    "targets": "targets of the losses",
    "generator forward": "generator forward",
    "losses": "losses, with their networks",
    "generator backward": "generator backward",
    "generator optimizer": "generator optimizer",
    "discriminator forward": "discriminator forward",
    "discriminator backward": "discriminator backward",
    "discriminator optimizer": "discriminator optimizer",
    "EMA": "EMA",
}
"""The stopwatch's names of the parts of a step, in their order, and the words of the table."""
MOST = 10  # operators


@dataclass(frozen=True, slots=True)
class Operator:
    """One kind of operation of torch, summed up over the steps of a trace."""

    name: str
    calls: int
    cpu: float
    """Seconds on the CPU in the operation itself, without those that it calls."""
    device: float
    """Seconds of its kernels on the GPU."""


def parts_table(steps: int, total: float, cost: Mapping[str, float], host: Mapping[str, float], on_gpu: bool) -> str:
    """A row for each part of a step, from seconds over `steps` steps; with what is left they are the whole step.

    `cost` and `host` are as in `trainer.telemetry.timers.Times`; the host's own column is for a GPU.
    """
    names = [name for name in PARTS if name in cost]
    rows = [(PARTS[name], cost[name], host.get(name, 0.0)) for name in names]
    rows.append(("other", total - sum(seconds for _, seconds, _ in rows), total - sum(mine for *_, mine in rows)))
    rows.append(("step", total, total))
    found = [("part", "GPU, ms" if on_gpu else "ms", "share", *(["host, ms"] if on_gpu else []))]
    for name, seconds, mine in rows:
        shown = (f"{1000 * seconds / steps:.1f}", f"{100 * seconds / total:.1f} %")
        found.append((name, *shown, *([f"{1000 * mine / steps:.1f}"] if on_gpu else [])))
    return aligned(found)


def operators_table(operators: Iterable[Operator], steps: int, on_gpu: bool) -> str:
    """The operators that take most of the GPU's time, or of the CPU's where there is none, from `steps` steps."""
    every = list(operators)
    total = sum(one.device if on_gpu else one.cpu for one in every) or 1.0
    heaviest = sorted(every, key=lambda one: -(one.device if on_gpu else one.cpu))[:MOST]
    rows = [("operator", "calls", *(["GPU, ms"] if on_gpu else []), "CPU, ms", "share")]
    for one in heaviest:
        device = [f"{1000 * one.device / steps:.1f}"] if on_gpu else []
        share = (one.device if on_gpu else one.cpu) / total
        rows.append(
            (one.name, f"{one.calls / steps:.0f}", *device, f"{1000 * one.cpu / steps:.1f}", f"{100 * share:.1f} %")
        )
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines: the first column to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *figures in rows:
        cells = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]))
    return "\n".join(lines)


def is_operator(event: object) -> bool:
    """True for an operation of torch, and not for a part of a step, a kernel, a call of the driver or of autograd."""
    name, on_cpu = str(getattr(event, "key", "")), getattr(event, "device_type", None) == DeviceType.CPU
    return on_cpu and "::" in name and not name.startswith("autograd::")
