"""Figures of a validation: title, digits and direction of each, and which of them chooses the best checkpoint.

Everything here is of a configuration as a tree, as config.yaml has it: programs that only read a run need no torch.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeGuard

from trainer.telemetry.metrics_file import Report

VALIDATION = "validation/"
SCORE = "score"
"""The weighted sum of `validation.best_metric`: higher is better."""
OFFICIAL_FILES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
"""torchvision's files of weights, whose figures have the metrics' official names."""
HIGHER, LOWER, NEAREST_TO_ONE = 1, -1, 0


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a validation."""

    title: str
    digits: int = 4
    direction: int = LOWER
    """`HIGHER`, `LOWER` or `NEAREST_TO_ONE`, whichever is better."""
    unit: str = ""
    perceptual: bool = False
    """True for a judgement of how natural or alike pictures look."""

    @property
    def label(self) -> str:
        """Title and unit: "PSNR, dB"."""
        return f"{self.title}{', ' if self.unit else ''}{self.unit.strip()}"

    @property
    def heading(self) -> str:
        """Title, unit and direction: "PSNR, dB ↑"."""
        return f"{self.label} {self.arrow}"

    @property
    def words(self) -> str:
        """The direction in words."""
        return {HIGHER: "higher is better", LOWER: "lower is better", NEAREST_TO_ONE: "1 is best"}[self.direction]

    @property
    def mode(self) -> str | None:
        """The direction as of a plateau schedule; None where it is neither."""
        return {HIGHER: "max", LOWER: "min"}.get(self.direction)

    @property
    def arrow(self) -> str:
        """The direction in one character."""
        return {HIGHER: "↑", LOWER: "↓", NEAREST_TO_ONE: "→1"}[self.direction]

    def text(self, value: float) -> str:
        """A value in words: "PSNR 27.31 dB"."""
        return f"{self.title} {value:.{self.digits}f}{self.unit}"

    def merit(self, value: float) -> float:
        """A number that is the higher the better the value is."""
        return -abs(value - 1) if self.direction == NEAREST_TO_ONE else self.direction * value


def _lpips() -> dict[str, Figure]:
    """LPIPS by its network, and of other weights than torchvision's."""
    found = {}
    for net in OFFICIAL_FILES:
        for custom in (False, True):
            words = [*([net] if net != "alex" else []), *(["custom"] if custom else [])]
            title = f"LPIPS ({', '.join(words)})" if words else "LPIPS"
            found["_".join(["lpips", *words])] = Figure(title, perceptual=True)
    return found


QUALITY: dict[str, Figure] = {
    "psnr": Figure("PSNR", 2, HIGHER, " dB"),
    "ssim": Figure("SSIM", 4, HIGHER),
    "sam": Figure("SAM", 2, LOWER, "°"),
    "ergas": Figure("ERGAS", 2),
    **_lpips(),
    "dists": Figure("DISTS", perceptual=True),
    "dists_custom": Figure("DISTS (custom)", perceptual=True),
    "niqe": Figure("NIQE", 3, perceptual=True),
    "displacement": Figure("displacement", 1, LOWER, "/100 px"),
    "sharpness": Figure("sharpness", 2, NEAREST_TO_ONE),
    SCORE: Figure("score", 4, HIGHER),
}
"""By the name behind `validation/`, in the order in which they are shown."""
COLOURS = {"colour_drift": Figure("colour drift")}
"""Measured in every validation, and shown among the signs of health."""


def figure_name(metric: Any) -> str:
    """The name of a metric's figure; `metric` is an entry of `validation.metrics`, a tree or a name."""
    tree = metric if isinstance(metric, Mapping) else {"type": metric}
    kind, weights = str(tree.get("type")), tree.get("weights")
    if kind == "module":
        return str(tree.get("name"))
    if kind not in ("lpips", "dists"):
        return kind
    net = "vgg" if kind == "dists" else str(tree.get("net") or "alex")
    parts = [kind, *([net] if kind == "lpips" and net != "alex" else [])]
    if weights is not None and PurePath(str(weights)).name != OFFICIAL_FILES.get(net):
        parts.append("custom")
    return "_".join(parts)


def figures_of(validation: Any) -> dict[str, Figure]:
    """The figures by which the best checkpoint may be chosen, by name, of a `validation` section as a tree.

    Those of `validation.metrics` in their order, and the colours that every validation measures.
    """
    if not isinstance(validation, Mapping):
        return {}
    found: dict[str, Figure] = {}
    for metric in metrics_of(validation):
        name = figure_name(metric)
        if isinstance(metric, Mapping) and metric.get("type") == "module":
            found[name] = Figure(name, 4, LOWER if metric.get("lower_is_better") else HIGHER, perceptual=True)
        else:
            found[name] = QUALITY.get(name, Figure(name))
    if isinstance(validation.get("best_metric"), Mapping):
        found[SCORE] = QUALITY[SCORE]
    return found | COLOURS


def metrics_of(validation: Mapping[str, Any]) -> list[Any]:
    """The entries of `validation.metrics`; where it is null, those of its default."""
    source = validation.get("source")
    alone = isinstance(source, Mapping) and source.get("type") == "lq"
    metrics = validation.get("metrics")
    listed = list(metrics) if isinstance(metrics, list | tuple) else []
    if alone:
        return listed
    levels = source.get("radiometry") if isinstance(source, Mapping) else None
    if isinstance(levels, Mapping):  # multi-band pictures always have these; one band has no spectrum
        spectral = ["sam"] if len(levels.get("bands") or ()) > 1 else []
        return [
            "psnr",
            "ssim",
            "ergas",
            *spectral,
            *(one for one in listed if figure_name(one) not in ("psnr", "ssim")),
        ]
    return listed if isinstance(metrics, list | tuple) else ["psnr", "ssim"]


def best_metric(validation: Any, adversarial: bool) -> str | None:
    """The name of the figure by which the best checkpoint is chosen; None where nothing is measured by it.

    `adversarial` is true at steps of adversarial training, where by default a perceptual figure chooses, if one is
    measured: LPIPS before DISTS, before NIQE, before a module's.
    """
    figures = {name: figure for name, figure in figures_of(validation).items() if name not in COLOURS}
    if not isinstance(validation, Mapping):
        return None
    chosen = validation.get("best_metric")
    if chosen:
        return SCORE if isinstance(chosen, Mapping) else str(chosen)
    if adversarial:
        known = [name for name in QUALITY if name in figures and figures[name].perceptual]
        for name in [*known, *(name for name, figure in figures.items() if figure.perceptual)]:
            return name
    return next((name for name in ("psnr", *figures) if name in figures), None)


def score(weights: Mapping[str, float], values: Mapping[str, float], figures: Mapping[str, Figure]) -> float:
    """The weighted sum of values by name, less where less is better; NaN where one is missing."""
    return sum(weight * figures[name].merit(values.get(name, math.nan)) for name, weight in weights.items())


def better(value: float, than: float | None, figure: Figure) -> bool:
    """True if a value is better than the best so far, where there is one; NaN never is."""
    return not math.isnan(value) and (than is None or figure.merit(value) > figure.merit(than))


def is_adversarial(config: Mapping[str, Any], step: int) -> bool:
    """True if a validation after so many steps is of adversarial training, and not of the pretraining before it."""
    game = config.get("adversarial")
    joined = game.get("g_pretrain_steps", 0) if isinstance(game, Mapping) else -1
    return isinstance(joined, int) and 0 <= joined < step


def best_validation(
    reports: Iterable[Report], config: Mapping[str, Any], metric: str | None = None
) -> tuple[str, float, Report] | None:
    """The figure that chooses, by default the run's own, its best value, and the report of it: the first of the best.

    In a run with adversarial training those before it count only as long as there is no later one: pretraining reaches
    figures that adversarial training, which trades them for texture, does not.
    """
    validation, kept = config.get("validation"), list(reports)
    figures = figures_of(validation)
    for adversarial in (True, False):
        name = metric or best_metric(validation, adversarial)
        if name is None:
            continue
        figure, key = figures.get(name) or QUALITY.get(name) or Figure(name, direction=HIGHER), VALIDATION + name
        there = [
            report
            for report in kept
            if is_finite(report.get(key)) and is_adversarial(config, report["step"]) == adversarial
        ]
        if there:
            best = max(there, key=lambda report: figure.merit(report[key]))
            return name, best[key], best
    return None


def shown_values(values: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of a report that show quality, by name: without colours, bands, signed parts and bicubic's."""
    names = [name.removeprefix(VALIDATION) for name in values if name.startswith(VALIDATION)]
    plain = re.compile(r"colour_drift.*|.*_band\d+|.*_bicubic|displacement_[xy]|samples")
    own = {name: QUALITY.get(name, Figure(name)) for name in names if not plain.fullmatch(name)}
    return dict(sorted(own.items(), key=lambda item: _ORDER.get(item[0], len(_ORDER))))


_ORDER = {name: number for number, name in enumerate(QUALITY)}


def is_finite(value: Any) -> TypeGuard[float]:
    """True for a number that is neither infinite nor NaN."""
    return isinstance(value, int | float) and math.isfinite(value)
