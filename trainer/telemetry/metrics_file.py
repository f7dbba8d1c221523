"""The reports of a run, as `metrics.jsonl` holds them: one JSON object per line, `step` and figures by name.

The only parser of that file: the table of runs, model cards and a resumed run read it here.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from trainer.console import say
from trainer.files import json_lines as lines
from trainer.files.atomic import write_atomically

Report = dict[str, Any]
"""`step`, an int, and figures: numbers, None where one was not finite; `warnings`, if any, are sentences."""


def read_reports(path: Path, key: str = "", newest_first: bool = False) -> Iterator[Report]:
    """The reports in the file at `path`, none where there is no file; with `key` only those that have this figure.

    Lines that are no reports are left out: a death, or a run that is just writing, leaves a part of one.
    """
    for _, report in lines.read(path, f'"{key}"'.encode() if key else b"", newest_first):
        if is_report(report):
            yield report


def truncate_metrics(path: Path, step: int) -> list[Report]:
    """Drop the reports of steps after `step` and, with a message, lines that are no reports; the reports that are left.

    A death cuts a last line short, a failing disk spoils one in the middle: those after it are as good as before.
    Where a full disk kept an earlier call from this, steps are there twice: their last lines count. Raises OSError if
    the disk refuses.
    """
    kept: list[bytes] = []
    reports: list[Report] = []
    odd: list[str] = []
    for number, (text, report) in enumerate(lines.read(path), 1):
        if not is_report(report):
            odd.append(str(number))
        elif report["step"] <= step:
            while reports and reports[-1]["step"] >= report["step"]:
                del reports[-1], kept[-1]
            kept.append(text + b"\n")
            reports.append(report)
    if odd:
        say(f"{path}: dropped what is no report: line{'s' * (len(odd) > 1)} {', '.join(odd)}")
    whole, before = b"".join(kept), path.read_bytes() if path.is_file() else b""
    if before.startswith(whole):
        if before != whole:
            os.truncate(path, len(whole))  # which needs no room on the disk
    else:
        write_atomically(path, whole)
    return reports


def is_report(line: Mapping[str, Any] | None) -> TypeGuard[Report]:
    """True for a line with a step, and numbers or None for figures."""
    if line is None or type(line.get("step")) is not int:
        return False
    return all(isinstance(value, int | float | None) for name, value in line.items() if name != "warnings")
