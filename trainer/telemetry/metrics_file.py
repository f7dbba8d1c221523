"""`metrics.jsonl`, one line a report, when a run goes on: lines of later steps are dropped."""

import os
from collections.abc import Mapping
from typing import Any, TypeGuard

from trainer.checkpoints.run_folder import RunFolder
from trainer.console import say
from trainer.files import json_lines as lines
from trainer.files.atomic import write_atomically


def truncate_metrics(folder: RunFolder, step: int) -> list[dict[str, Any]]:
    """Drop the lines of steps after `step` and, with a word, those that are no reports; what is left.

    A death cuts a last line short, a failing disk spoils one in the middle: those after it are as good as before.
    Where a full disk kept an earlier call from this, steps are there twice: their last lines count.
    """
    kept: list[bytes] = []
    figures: list[dict[str, Any]] = []
    odd = []
    for number, (text, report) in enumerate(lines.read(folder.metrics), 1):
        if not is_report(report):
            odd.append(str(number))
        elif report["step"] <= step:
            while figures and figures[-1]["step"] >= report["step"]:
                del figures[-1], kept[-1]
            kept.append(text + b"\n")
            figures.append(report)
    if odd:
        say(f"{folder.metrics}: dropped what is no report: line{'s' * (len(odd) > 1)} {', '.join(odd)}")
    whole, before = b"".join(kept), folder.metrics.read_bytes() if folder.metrics.is_file() else b""
    if before.startswith(whole):
        if before != whole:
            os.truncate(folder.metrics, len(whole))  # which needs no room on the disk
    else:
        write_atomically(folder.metrics, whole)
    return figures


def is_report(line: Mapping[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    """True if a line of metrics.jsonl is a report: a step, and numbers or null as values."""
    if line is None or type(line.get("step")) is not int:
        return False
    return all(isinstance(value, int | float | None) for name, value in line.items() if name != "warnings")
