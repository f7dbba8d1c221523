"""Names of checkpoints and of the files in them, written and parsed here alone; no torch, for `trainer.runs`."""

import re
from pathlib import Path

GENERATOR_EMA = "generator_ema"
"""The part of a checkpoint that holds the averaged generator."""
EMA_WEIGHTS = f"{GENERATOR_EMA}.safetensors"
MANIFEST = "manifest.json"
STEP_NAMES = "step-*"
"""A glob for whatever is named after a step: checkpoints, complete or not, sample sheets, staged pushes."""

PARTIAL = ".partial"
"""The suffix of a checkpoint that is being written, or was when its run died."""

_STEP = re.compile(r"step-(\d{8,})")


def step_name(step: int) -> str:
    """The name of what belongs to `step`: step-00012000. By name is by number up to step 99,999,999."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step of a `step_name`; None for any other name."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else None


def saved_steps(checkpoints: Path) -> list[int]:
    """The steps of the folders with a checkpoint's name, ascending; whether they are intact is not looked at."""
    if not checkpoints.is_dir():
        return []
    return sorted(step for entry in checkpoints.iterdir() if (step := step_of(entry.name)) is not None)
