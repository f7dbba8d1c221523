"""The page of a run, put together from its record: one HTML file that needs nothing else."""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any

from trainer.checkpoints.run_folder import RunFolder
from trainer.config.settings import Setting, settings
from trainer.files.atomic import write_atomically
from trainer.files.bounded_yaml import shown
from trainer.report.curves import charts
from trainer.report.pictures import section
from trainer.report.reading import Record, read_record
from trainer.report.svg import figure
from trainer.telemetry.health import below_bicubic
from trainer.telemetry.metrics_file import Report
from trainer.telemetry.quality import COLOURS, Figure, is_finite, shown_values

HERE = Path(__file__).parent


def write_report(folder: RunFolder, file: Path | None = None, step: int | None = None, state: str = "") -> Path:
    """Write the page of a run to `file`, by default report.html of its folder, whole or not at all; where it is.

    `step` and `state` as of `read_record`. Raises OSError where a file cannot be read or written.
    """
    file = folder.report if file is None else file
    write_atomically(file, page(folder, read_record(folder, step, state)))
    return file


def page(folder: RunFolder, record: Record) -> str:
    """The whole page, as HTML."""
    parts = {
        "css": (HERE / "page.css").read_text(encoding="utf-8"),
        "js": (HERE / "page.js").read_text(encoding="utf-8"),
        "name": escape(record.name),
        "summary": summary(record),
        "written": time.strftime("%Y-%m-%d %H:%M %Z"),
        "best": best_figures(record),
        "pictures": section(folder, record),
        "curves": curves(record.reports),
        "health": health(record),
        "settings": all_settings(record.config),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def summary(record: Record) -> str:
    """Network, steps and state of the run, in a line of chips."""
    chips = [(record.state, "state")]
    generator = record.config.get("generator")
    if isinstance(generator, dict):
        chips.append((f"{generator.get('type', 'network')} ×{record.config.get('scale', '?')}", "fact"))
    if record.parameters:
        chips.append((f"{record.parameters:,} parameters", "fact"))
    chips.append((f"step {record.step:,} of {'?' if record.last_step is None else f'{record.last_step:,}'}", "fact"))
    if record.age is not None and record.state == "running":
        chips.append((f"last report {timedelta(seconds=int(record.age))} ago", "fact"))
    items = "".join(f'<li class="{kind}">{escape(text)}</li>' for text, kind in chips)
    total = record.last_step or record.step
    done = min(record.step, total) / total if total else 0
    return f'<ul class="chips">{items}</ul><progress max="1" value="{done:.4f}">{100 * done:.0f} %</progress>'


def best_figures(record: Record) -> str:
    """The best and the last validation beside bicubic upsampling, as a table; a sentence where nothing is measured."""
    measured = [report for report in record.reports if shown_values(report)]
    if record.config.get("validation") is None and not measured:
        return "<p>This run has no validation: nothing is measured.</p>"
    if record.config and not measured and not set(record.figures) - set(COLOURS):
        return "<p>Validation has no ground truth: its results are shown and nothing is measured.</p>"
    best, last = record.best(), measured[-1] if measured else None
    if best is None or last is None:
        return "<p>No validation yet.</p>"
    figures = {**shown_values(best), **{name: one for name, one in record.figures.items() if name not in COLOURS}}
    names = [name for name in shown_values(best) if name in figures]
    heads = "".join(f"<th scope=col>{escape(figures[name].heading)}</th>" for name in names)
    rows = {"bicubic": _row("bicubic", best, names, figures, "_bicubic")}
    rows["best"] = _row(f"best, at step {best['step']:,}", best, names, figures)
    for name in record.kept_figures:
        if (other := record.best(name)) and other is not best:
            title = figures[name].title if name in figures else name
            rows[name] = _row(f"best by {title}, at step {other['step']:,}", other, names, figures)
    if last is not best:
        rows["last"] = _row(f"last, at step {last['step']:,}", last, names, figures)
    by = str(record.best_by)
    note = f"The best is chosen by {escape(figures[by].title if by in figures else by)} of the averaged network."
    if below_bicubic(best):
        note += " Bicubic's PSNR is not reached yet, as at the beginning of every run."
    table = (
        f"<table class=figures><thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(rows.values())}</tbody></table>"
    )
    return f'<div class="scroll">{table}</div><p class="note">{note}</p>'


def curves(reports: list[Report]) -> str:
    """The charts under their headings."""
    groups = charts(reports)
    if not groups:
        return '<p class="note">No report yet.</p>'
    return "".join(
        f'<h3>{escape(heading)}</h3><div class="charts">{"".join(map(figure, group))}</div>'
        for heading, group in groups.items()
    )


def health(record: Record) -> str:
    """Warnings, starts, and what was skipped."""
    warnings = [
        f"<li><b>Step {report['step']:,}:</b> {escape(str(warning))}</li>"
        for report in record.reports
        for warning in (report.get("warnings") if isinstance(report.get("warnings"), list) else ())  # type: ignore[union-attr]
    ]
    parts = [f"<ul class=warnings>{''.join(warnings)}</ul>" if warnings else "<p>No warning was given.</p>"]
    if record.unreadable is not None:
        what = (
            "No training picture was skipped"
            if not record.unreadable
            else f"{record.unreadable:,} skipped as unreadable"
        )
        parts.append(f"<p>{what} up to the checkpoint of step {record.checkpoint:,}.</p>")
    lost = sum(value is None for report in record.reports for value in report.values())
    if lost:
        parts.append(f"<p>{lost:,} figures were not finite; they are gaps in the curves.</p>")
    if record.starts:
        parts.append(starts(record.starts))
    return "".join(parts)


def starts(started: list[dict[str, Any]]) -> str:
    """The starts of the run, as a table."""
    heads = {"time": "started", "step": "at step", "processes": "processes", "job": "job", "requeues": "requeues"}
    heads = {key: head for key, head in heads.items() if any(key in start for start in started)}
    rows = ("".join(f"<td>{escape(str(start.get(key, '')))}</td>" for key in heads) for start in started)
    head = "".join(f"<th scope=col>{head}</th>" for head in heads.values())
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def all_settings(config: dict[str, Any]) -> str:
    """The settings that differ from their defaults, and all of them folded."""
    if not config:
        return '<p class="note">config.yaml cannot be read.</p>'
    every = settings(config)
    differing = [setting for setting in every if setting.differs]
    return (
        f"<p>{len(differing)} of {len(every)} settings differ from their defaults.</p>{_settings(differing)}"
        f"<details><summary>All {len(every)} settings</summary>{_settings(every)}</details>"
    )


def _settings(chosen: list[Setting]) -> str:
    return f'<dl class="settings">{"".join(part for setting in chosen for part in _setting(setting))}</dl>'


def _setting(setting: Setting) -> Iterator[str]:
    default = f" <span class=note>default {escape(setting.default)}</span>" if setting.differs else ""
    if setting.default == "must be given":
        default = ""
    yield f"<dt><code>{escape(setting.path)}: <b>{escape(shown(setting.value))}</b></code>{default}</dt>"
    yield f"<dd>{escape(setting.sentence)}</dd>"


def _row(label: str, report: Report, names: list[str], figures: Mapping[str, Figure], ending: str = "") -> str:
    cells = []
    for name in names:
        value, plain = report.get(f"validation/{name}{ending}"), report.get(f"validation/{name}_bicubic")
        figure = figures[name]
        text = f"{value:.{figure.digits}f}" if is_finite(value) else "–"
        if not ending and is_finite(value) and is_finite(plain):
            better = figure.merit(value) > figure.merit(plain)
            text += f" <small class={'better' if better else 'other'}>{value - plain:+.{figure.digits}f}</small>"
        cells.append(f"<td>{text}</td>")
    return f"<tr><th scope=row>{escape(label)}</th>{''.join(cells)}</tr>"
