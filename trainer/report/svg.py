"""A chart as SVG: axes with round numbers, one path for each line; colours are the page's."""

import json
import math
from html import escape

from trainer.report.curves import PROBABILITIES, Chart, Line

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 10, 26
"""Margins around the plot, in units of the drawing."""
COLOURS = 8
"""Colours of lines that the page knows; more lines begin again, with dashes."""
LOGARITHMIC = 30
"""From this ratio of the highest to the lowest on, a line of positive figures is drawn over a logarithmic axis."""


class Axis:
    """A linear or logarithmic map from figures to the drawing."""

    def __init__(self, low: float, high: float, start: float, end: float, logarithmic: bool = False) -> None:
        self.logarithmic = logarithmic
        if low == high:
            low, high = low - (abs(low) / 10 or 0.5), high + (abs(high) / 10 or 0.5)
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round figures along the axis, some four of them."""
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            every = max(1, round(len(powers) / 5))
            inside = [10.0**power for power in powers if self.low <= 10.0**power <= self.high][::every]
            if len(inside) > 1:
                return inside
        step = round_up((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def round_up(size: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... at or above a positive size."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= size * (1 - 1e-9))


def axes_of(chart: Chart) -> tuple[Axis, Axis] | None:
    """The two axes of a chart; None where it has no finite figure."""
    steps = [step for line in chart.lines for step, _ in line.points]
    values = [value for line in chart.lines for _, value in line.points if value is not None]
    if not values:
        return None
    low, high = (0.0, 1.0) if chart.title == PROBABILITIES else (min(values), max(values))
    logarithmic = low > 0 and high / low > LOGARITHMIC
    if not logarithmic and high > low:
        low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    across = Axis(min(steps), max(steps), LEFT, WIDTH - RIGHT)
    return across, Axis(low, high, HEIGHT - BOTTOM, TOP, logarithmic)


def figure(chart: Chart) -> str:
    """A chart as an HTML figure: title, drawing, legend, and its data for the page's script."""
    title = escape(chart.title)
    axes = axes_of(chart)
    if axes is None:
        return (
            f'<figure class="chart"><figcaption>{title}</figcaption><p class="note">No finite value yet.</p></figure>'
        )
    across, up = axes
    parts = [*_grid(across, up), *(_path(line, number, across, up) for number, line in enumerate(chart.lines))]
    data = {
        "x": [across.low, across.high],
        "y": [up.low, up.high],
        "log": up.logarithmic,
        "box": [LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP],
        "lines": [{"name": line.name, "points": line.points} for line in chart.lines],
    }
    label = escape(f"{chart.title}. {'; '.join(map(_in_words, chart.lines))}. Arrow keys read values.", quote=True)
    scale = " · logarithmic" if up.logarithmic else ""
    return (
        f'<figure class="chart"><figcaption>{title}<span class="note">{scale}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{label}">{"".join(parts)}</svg>'
        f'<ul class="legend">{"".join(_legend(line, number) for number, line in enumerate(chart.lines))}</ul>'
        f'<output class="reading" aria-live="polite"></output>'
        f'<script type="application/json">{in_script(data)}</script></figure>'
    )


def in_script(data: object) -> str:
    """JSON that can stand in a script element, whatever text it holds."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def number(value: float) -> str:
    """A figure in at most five digits."""
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{value:.5g}" if abs(value) < 1e5 else f"{value:,.0f}"


def steps_in_words(step: float) -> str:
    """A step on an axis: 900, 12k, 1.5M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if step >= 10 * size or (step >= size and step % size == 0):
            return f"{step / size:g}{unit}"
    return f"{step:g}"


def _grid(across: Axis, up: Axis) -> list[str]:
    """Grid lines with their numbers, and the word under the steps."""
    parts = []
    for value in up.ticks():
        y = up(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number(value)}</text>')
    for step in across.ticks():
        if step == int(step):
            x = across(step)
            parts.append(f'<path class="tick" d="M{x:.1f} {HEIGHT - BOTTOM}v4"/>')
            text = steps_in_words(step)
            side = "end" if x > WIDTH - RIGHT - 12 else "middle"
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{side}">{text}</text>')
    return parts


def _path(line: Line, order: int, across: Axis, up: Axis) -> str:
    """The path of a line, broken where a figure was not finite; single points are drawn as dots."""
    commands, dots, pen = [], [], False
    for at, (step, value) in enumerate(line.points):
        if value is None:
            pen = False
            continue
        x, y = f"{across(step):.1f}", f"{up(value):.1f}"
        commands.append(f"{'L' if pen else 'M'}{x} {y}")
        after = line.points[at + 1][1] if at + 1 < len(line.points) else None
        if not pen and after is None:
            dots.append(f'<circle class="dot {_class(line, order)}" cx="{x}" cy="{y}" r="2.5"/>')
        pen = True
    return f'<path class="line {_class(line, order)}" d="{"".join(commands)}"/>{"".join(dots)}'


def _class(line: Line, order: int) -> str:
    again = order >= COLOURS or line.name in ("bicubic", "ground truth")
    return f"c{order % COLOURS}" + (" dashed" if again else "")


def _legend(line: Line, order: int) -> str:
    key = f'<svg viewBox="0 0 22 6" aria-hidden="true"><path class="line {_class(line, order)}" d="M0 3H22"/></svg>'
    last = next((value for _, value in reversed(line.points) if value is not None), None)
    shown = "" if last is None else f" <b>{number(last)}</b>"
    return f"<li>{key}{escape(line.name)}{shown}</li>"


def _in_words(line: Line) -> str:
    """A line's last figure and range."""
    values = [value for _, value in line.points if value is not None]
    if not values:
        return f"{line.name}: no finite value"
    return f"{line.name}: last {number(values[-1])}, from {number(min(values))} to {number(max(values))}"
