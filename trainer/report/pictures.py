"""The validation pictures of a page: each with its views for the slider, or the newest sheet of samples."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from trainer.checkpoints.names import STEP_NAMES, step_name, step_of
from trainer.checkpoints.run_folder import RunFolder
from trainer.report.reading import Record
from trainer.telemetry.quality import QUALITY

BYTES = 12 * 2**20
"""Bytes of picture files in a page at most."""
VIEWS = {"lq": "input", "bicubic": "bicubic", "result": "result", "gt": "ground truth"}


@dataclass(frozen=True, slots=True)
class View:
    """One picture of a comparison."""

    label: str
    file: Path
    figures: str = ""
    """Its metrics in words."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The views of one validation picture."""

    name: str
    note: str
    """The recipe of its degradation."""
    size: tuple[int, int]
    """Width and height of the result's view."""
    views: list[View]


def section(folder: RunFolder, record: Record) -> str:
    """The section of the validation pictures, as HTML; a sentence where there are none."""
    left = BYTES
    shown, omitted = [], 0
    for comparison in comparisons(folder, record):
        size = sum(view.file.stat().st_size for view in comparison.views)
        if size > left:
            omitted += 1
            continue
        left -= size
        shown.append(_comparison(comparison))
    left_out = (
        f'<p class="note">Left out, for the size of the page: {omitted} more in samples/views.</p>' if omitted else ""
    )
    return f'<div class="pictures">{"".join(shown)}</div>{left_out}' if shown else left_out + _sheet(folder, record)


def comparisons(folder: RunFolder, record: Record) -> Iterator[Comparison]:
    """The validation pictures of the newest validation, with the results of the best one beside them."""
    steps = [report["step"] for report in record.reports if any(name.startswith("validation/") for name in report)]
    there = [step for step in steps if (folder.views / step_name(step)).is_dir()]
    best = record.best()
    for place in sorted((folder.views / step_name(there[-1])).glob("[0-9]*")) if there else ():
        about = about_of(place)
        if about is None:
            continue
        views = [_view(view, place, about, there[-1]) for view in VIEWS if (place / f"{view}.png").is_file()]
        if best and best["step"] in there[:-1]:
            at = folder.views / step_name(best["step"]) / place.name
            if (before := about_of(at)) and (at / "result.png").is_file():
                views.append(_view("result", at, before, best["step"], "best, "))
        yield Comparison(str(about["name"]), str(about["note"]), (about["size"][0], about["size"][1]), views)


def about_of(place: Path) -> dict[str, Any] | None:
    """The description of a picture's views; None where it is not there yet, or another program's."""
    try:
        about = json.loads((place / "about.json").read_bytes())
        wanted = {"name": str, "note": str, "size": list, "figures": dict}
        return about if all(isinstance(about[key], kind) for key, kind in wanted.items()) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def data_uri(file: Path) -> str:
    """A PNG file as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _view(view: str, place: Path, about: dict[str, Any], step: int, prefix: str = "") -> View:
    ending = {"result": "", "bicubic": "_bicubic"}.get(view)
    figures = about["figures"]
    words = [one.text(figures[f"{name}{ending}"]) for name, one in QUALITY.items() if f"{name}{ending}" in figures]
    label = f"{VIEWS[view]}, {prefix}step {step:,}" if view == "result" else VIEWS[view]
    return View(label, place / f"{view}.png", " · ".join(word.replace(" ", "\u00a0") for word in words))


def _comparison(comparison: Comparison) -> str:
    """A comparison as an HTML figure; without a script its views stand side by side."""
    width, height = comparison.size
    panes = "".join(
        f'<figure class="pane"><img alt="{escape(f"{comparison.name}: {view.label}", quote=True)}" '
        f'width="{width}" height="{height}" src="{data_uri(view.file)}">'
        f"<figcaption>{escape(view.label)}<small>{escape(view.figures)}</small></figcaption></figure>"
        for view in comparison.views
    )
    note = f'<p class="note">{escape(comparison.note)}</p>' if comparison.note else ""
    return (
        f'<article class="compare"><h3>{escape(comparison.name)}</h3><div class="stage">{panes}</div>{note}</article>'
    )


def _sheet(folder: RunFolder, record: Record) -> str:
    """The newest sheet of samples, of runs without views; a sentence where there is none."""
    sheets = {step_of(file.stem): file for file in folder.samples.glob(f"{STEP_NAMES}.png")}
    drawn = [step for step in sheets if step is not None and step <= record.step]
    if not drawn:
        why = "This run has no validation." if record.config.get("validation") is None else "None yet."
        return f'<p class="note">{why}</p>'
    file = sheets[max(drawn)]
    if file.stat().st_size > BYTES:
        return f'<p class="note">Left out, for the size of the page: samples/{escape(file.name)}.</p>'
    return f'<img class="sheet" alt="Validation pictures at step {max(drawn):,}" src="{data_uri(file)}">'
