"""The charts of a page: which figures of metrics.jsonl share one, under which headings, and their points."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trainer.telemetry.metrics_file import Report
from trainer.telemetry.quality import QUALITY, is_finite

POINTS = 600
"""Points of a line at most; of more, the lowest and highest of each stretch are kept."""
Point = tuple[int, float | None]
"""A step and a figure; None where it was not finite."""

DISCRIMINATOR = "discriminator"
CHARTS: dict[str, dict[str, dict[str, str]]] = {
    "Quality": {
        f"{figure.label} ({figure.words})": {
            f"validation/{name}": "this network",
            f"validation/{name}_bicubic": "bicubic",
        }
        for name, figure in QUALITY.items()
    }
    | {
        "Displacement by direction, /100 px": {
            f"validation/displacement_{axis}{ending}": f"{where}{of}"
            for ending, of in (("", ""), ("_bicubic", ", bicubic"))
            for axis, where in (("x", "to the right"), ("y", "down"))
        }
    },
    "Losses": {
        "Generator, weighted sum": {"training/loss": "loss"},
        "Adversarial loss": {"training/loss_adversarial": "adversarial"},
        "Discriminator": {
            "discriminator/loss": "loss",
            "discriminator/loss_real": "on ground truth",
            "discriminator/loss_fake": "on results",
        },
    },
    "The game": {
        "Discriminator's opinion": {
            "discriminator/D(y)_prob": "D(y), of ground truth",
            "discriminator/D(G(x))_prob": "D(G(x)), of results",
        },
        "Weight of the adversarial loss": {
            "training/adv_loss_weight": "weight",
            "training/pretrain_phase": "pretraining",
        },
        "Gradient penalty R1": {"discriminator/r1_penalty": "R1"},
        "Share of steps that the discriminator paused": {"discriminator/paused": "share"},
    },
    "Optimization": {
        "Learning rates": {"generator/learning_rate": "generator", "discriminator/learning_rate": DISCRIMINATOR},
        "Gradient norms": {"training/grad_norm": "generator", "discriminator/grad_norm": DISCRIMINATOR},
        "Update over weight": {"generator/update_ratio": "generator", "discriminator/update_ratio": DISCRIMINATOR},
        "Decay of the average": {"ema/decay": "decay"},
        "Loss scale": {"generator/loss_scale": "generator", "discriminator/loss_scale": DISCRIMINATOR},
    },
    "Health": {
        "Colour drift from the input": {
            "validation/colour_drift": "results",
            "validation/colour_drift_gt": "ground truth",
        },
        "Share of black and white": {
            "training/saturated_share": "results",
            "training/saturated_share_gt": "ground truth",
        },
        "Share of steps skipped": {"training/skipped_share": "share"},
    },
    "Bands": {},
    "Speed": {
        "Images per second": {"speed/images_per_second": "images/s"},
        "Share of the time of a step": {
            "speed/data_wait_share": "waiting for data",
            "speed/degradation_share": "degradation",
            "speed/pool_share": "pool",
        },
        "TFLOP/s of a process": {"speed/tflops": "TFLOP/s"},
        "Share of the GPU's peak": {"speed/mfu": "share"},
        "Peak memory, GiB": {"speed/peak_memory_gib": "GiB"},
    },
    "Other figures": {},
}
"""Heading -> chart -> name in metrics.jsonl -> name of the line. What no chart names has one of its own."""
PROBABILITIES = "Discriminator's opinion"
"""The chart whose axis is from 0 to 1 whatever its lines do."""
UNDRAWN = frozenset({"step", "warnings", "speed/eta_seconds", "training/digest"})
BANDS = {
    "validation/psnr_band": "PSNR by band, dB",
    "validation/ssim_band": "SSIM by band",
    "validation/colour_drift_band": "Colour shift by band",
}
SPELLED = {"ms_ssim": "MS-SSIM", "ldl": "LDL", "sam": "SAM", "tv": "TV"}
"""Names of losses that are abbreviations."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    name: str
    points: list[Point]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over the same steps."""

    title: str
    lines: list[Line]


def charts(reports: list[Report]) -> dict[str, list[Chart]]:
    """The charts of these reports under their headings; those without a figure are left out."""
    names = dict.fromkeys(name for report in reports for name in report)
    found: dict[str, list[Chart]] = {}
    for heading, title, wanted in _wanted(names):
        lines = [Line(label, thinned(points(reports, name))) for name, label in wanted.items() if name in names]
        if lines:
            found.setdefault(heading, []).append(Chart(title, lines))
    return {heading: found[heading] for heading in CHARTS if heading in found}


def _wanted(names: Iterable[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Heading, title and lines of each chart: those of CHARTS, of the bands, and of what is left."""
    left = {name: None for name in names if name not in UNDRAWN}
    for heading, group in CHARTS.items():
        for title, wanted in group.items():
            yield heading, title, wanted
            for name in wanted:
                left.pop(name, None)
    for start, title in BANDS.items():
        own = [name for name in left if name.startswith(start)]
        yield "Bands", title, {name: f"band {name.removeprefix(start)}" for name in own}
        for name in own:
            del left[name]
    for name in [name for name in left if name.startswith("validation/") and f"{name}_bicubic" in left]:
        plain = f"{name}_bicubic"
        yield "Quality", name.removeprefix("validation/"), {name: "this network", plain: "bicubic"}
        del left[name], left[plain]
    for name in left:
        loss = name.startswith("training/loss_")
        short = name.rpartition("/")[2].removeprefix("loss_")
        spelled = SPELLED.get(short) or short.replace("_", " ").capitalize()
        yield (
            "Losses" if loss else "Other figures",
            f"{spelled} loss" if loss else name,
            {name: short.replace("_", " ")},
        )


def points(reports: Iterable[Report], name: str) -> list[Point]:
    """The points of one figure."""
    return [(report["step"], report[name] if is_finite(report[name]) else None) for report in reports if name in report]


def thinned(line: list[Point], limit: int = POINTS) -> list[Point]:
    """At most `limit` points of a line, and its ends: the lowest and the highest of each stretch, as they are, and one
    that is no figure if there is one, where the line is broken."""
    if len(line) <= limit:
        return line
    length = math.ceil(3 * len(line) / (limit - 2))
    kept = {line[0], line[-1]}
    for start in range(0, len(line), length):
        stretch = line[start : start + length]
        finite = [point for point in stretch if point[1] is not None]
        if finite:
            kept |= {min(finite, key=_figure), max(finite, key=_figure)}
        kept |= set([point for point in stretch if point[1] is None][:1])
    return sorted(kept, key=lambda point: point[0])


def _figure(point: Point) -> float:
    return math.nan if point[1] is None else point[1]
