"""Checkpoints: a folder is complete or absent.

    checkpoints/step-00012000/
        generator.safetensors          live weights, upstream's keys
        generator_ema.safetensors      the average
        generator_optimizer.pt         Adam's moments
        progress.pt                    step, best validation
        manifest.json                  size and checksum of each file, written last

A save is written aside (`.partial`), flushed to the disk and renamed; only then are older ones pruned. So a death at
any instant leaves the newest complete folder in place.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

NAME = re.compile(r"step-(\d{8,})$")
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointsConfig:
    """How often a run saves itself, and what it keeps."""

    checkpointing_steps: int = 5000
    """Optimizer steps between checkpoints; the last step is always saved."""
    checkpoints_total_limit: int | None = 3
    """How many of the newest to keep, the best apart; null keeps all."""
    keep_best: bool = True
    """Also save when validation is at its best, and keep that one."""

    def __post_init__(self) -> None:
        if self.checkpointing_steps < 1:
            raise ValueError(f"checkpointing_steps must be at least 1, got {self.checkpointing_steps}")
        if self.checkpoints_total_limit is not None and self.checkpoints_total_limit < 1:
            raise ValueError(f"checkpoints_total_limit must be at least 1 or null, got {self.checkpoints_total_limit}")


class Damaged(Exception):
    """A checkpoint folder that cannot be used, and why."""


class Checkpoints:
    """The folder of checkpoints of one run. Reading is safe on every rank, writing is for one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """The steps of the folders that bear a checkpoint's name, rising by number."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for entry in self.folder.iterdir() if (match := NAME.match(entry.name)))

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies."""
        return self.folder / f"step-{step:08d}"

    def newest(self) -> tuple[int | None, list[str]]:
        """The newest step whose folder is intact, None without one; and a sentence for each newer one that is not."""
        complaints = []
        for step in reversed(self.steps()):
            try:
                verify(self.path(step))
            except Damaged as damage:
                complaints.append(f"checkpoint {self.path(step)} is damaged and passed over: {damage}")
            else:
                return step, complaints
        return None, complaints

    def save(self, step: int, parts: dict[str, dict[str, Any]]) -> Path:
        """Write `parts` as the checkpoint of `step`, complete or not at all; nothing to do if it is there."""
        final = self.path(step)
        if final.exists():
            return final
        partial = final.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, part in parts.items():
            if all(isinstance(value, torch.Tensor) for value in part.values()):
                tensors = {key: value.detach().contiguous() for key, value in part.items()}
                safetensors.torch.save_file(tensors, partial / f"{name}.safetensors")
            else:
                torch.save(part, partial / f"{name}.pt")
        manifest = {
            file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in sorted(partial.iterdir())
        }
        (partial / MANIFEST).write_text(json.dumps({"step": step, "files": manifest}, indent=1))
        for file in partial.iterdir():
            file.chmod(0o644)  # safetensors creates 0600, which colleagues cannot read
            _flush(file)
        _flush(partial)
        partial.rename(final)
        _flush(self.folder)
        return final

    def load(self, step: int) -> dict[str, dict[str, Any]]:
        """The parts that were saved at `step`, tensors on the CPU."""
        parts = {}
        for file in sorted(self.path(step).iterdir()):
            if file.suffix == ".safetensors":
                parts[file.stem] = safetensors.torch.load_file(file)
            elif file.suffix == ".pt":
                parts[file.stem] = torch.load(file, map_location="cpu", weights_only=True)
        return parts

    def prune(self, limit: int | None, spare: Iterable[int]) -> None:
        """Delete all but the newest `limit` checkpoints and those in `spare`; and what dead saves left."""
        for stale in self.folder.glob("*.partial"):
            shutil.rmtree(stale)
        if limit is None:
            return
        for step in set(self.steps()[:-limit]) - set(spare):
            doomed = self.path(step).with_suffix(".partial")
            self.path(step).rename(doomed)  # a half deleted checkpoint must not bear a checkpoint's name
            shutil.rmtree(doomed)


def verify(folder: Path) -> None:
    """Compare a checkpoint with its manifest; Damaged says the first thing that is wrong."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError) as error:
        raise Damaged(f"no readable {MANIFEST} ({type(error).__name__})") from None
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise Damaged(f"{name} is missing")
        if file.stat().st_size != expected["bytes"]:
            raise Damaged(f"{name} has {file.stat().st_size} bytes, not {expected['bytes']}")
        if _sha256(file) != expected["sha256"]:
            raise Damaged(f"{name} is not what was written")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Wait until `path` (a file, or a folder's entries) is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
