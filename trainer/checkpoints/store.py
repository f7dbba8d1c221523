"""Checkpoints: a folder is complete or absent.

    checkpoints/step-00012000/
        generator.safetensors              live weights, upstream's keys
        generator_ema.safetensors          the average
        generator_optimizer.pt             the optimizer's state
        progress.pt                        step, position, best validation
        pool-00000000-00000360.safetensors the pool's slots from 0 to 359; one file per rank
        manifest.json                      size and checksum of each file, written last

A save is written aside (`.partial`), by all ranks at once, flushed to the disk and renamed; only then are older ones
pruned. So a death at any instant leaves the newest complete folder in place. Ranks meet through the folder itself: each
lists what it wrote, or why it could not, in `rank-<r>.json`, and rank 0 reads them all. No collective is needed while
files are written, so that may happen in a thread.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from trainer.checkpoints.names import EMA_WEIGHTS, MANIFEST, PARTIAL, saved_steps, step_name
from trainer.files.atomic import atomically, remove, settle, sweep, write_atomically

POOL = re.compile(r"pool-(\d{8,})-(\d{8,})$")
NEEDED = frozenset({"generator.safetensors", EMA_WEIGHTS, "progress.pt"})
"""Files of every checkpoint: a manifest that does not name them is invalid."""
VISIBLE = 90.0
"""Seconds within which every node sees a file that another has written: a network disk may show it late."""

Parts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointsConfig:
    """Checkpoints: how often they are saved, and how many are kept."""

    checkpointing_steps: int = 5000
    """Optimizer steps between checkpoints; the last step is always saved."""
    checkpoints_total_limit: int | None = 3
    """Number of newest checkpoints to keep, besides the best; null keeps all."""
    keep_best: bool | tuple[str, ...] = True
    """Also save when validation is at its best by `validation.best_metric`, and keep that one; a list of figures, as in
    `[psnr, lpips]`, keeps the best by each of them as well."""
    background: bool = False
    """Copy the state to host memory and write it while training goes on; one save is in flight at most."""
    stop_on_error: bool = True
    """Stop the run when a checkpoint cannot be written; false says so and goes on with the last complete one. A last
    step that cannot be saved is a failure either way."""
    accept_changes: bool = False
    """Resume although seed, data, degradation or global batch differ from the run's: its stream is then another one."""

    @property
    def kept_figures(self) -> tuple[str, ...]:
        """The figures whose best is kept beside that by `validation.best_metric`."""
        return self.keep_best if isinstance(self.keep_best, tuple) else ()

    def __post_init__(self) -> None:
        if self.keep_best == ():
            raise ValueError("keep_best: got an empty list; false keeps no best")
        if self.checkpointing_steps < 1:
            raise ValueError(f"checkpointing_steps must be at least 1, got {self.checkpointing_steps}")
        if self.checkpoints_total_limit is not None and self.checkpoints_total_limit < 1:
            raise ValueError(f"checkpoints_total_limit must be at least 1 or null, got {self.checkpoints_total_limit}")


class Damaged(Exception):
    """A checkpoint folder that cannot be used, and why."""


class Checkpoints:
    """The folder of checkpoints of one run: what is there, what is intact, and the pieces of a save."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """The steps of the folders with a checkpoint's name, ascending."""
        return saved_steps(self.folder)

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of `step`."""
        return self.folder / step_name(step)

    def partial(self, step: int) -> Path:
        """The folder in which the checkpoint of `step` is written before it is complete."""
        return self.folder / f"{step_name(step)}{PARTIAL}"

    def newest(self, content: bool = True) -> tuple[int | None, list[str]]:
        """The newest step whose folder is intact, None without one; and a sentence for each newer one that is not.

        `content` as in `verify`.
        """
        complaints = []
        for step in reversed(self.steps()):
            try:
                verify(self.path(step), content)
            except Damaged as damage:
                complaints.append(f"checkpoint {self.path(step)} is damaged and passed over: {damage}.")
            else:
                return step, complaints
        return None, complaints

    def begin(self, step: int, after: int | None = None) -> None:
        """Make the empty folder to write to. One rank, before any `write`; OSError where the disk refuses.

        Folders of steps later than `after`, the run's last complete save, are damaged, or the run would have gone on
        from there: they are set aside, or pruning would count them and delete intact ones in their place.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        for stale in self.folder.glob(f"*{PARTIAL}"):  # what dead saves left
            remove(stale)
        for later in self.steps():
            if later >= step or later > (step if after is None else after):
                aside = self.folder / f"{self.path(later).name}.damaged"
                remove(aside)
                self.path(later).rename(aside)
        self.partial(step).mkdir()

    def write(self, step: int, rank: int, parts: Parts) -> None:
        """Write and flush one rank's parts, then the list of them; whatever goes wrong is raised, and left for others.

        What was written of a save that failed is removed first: on a full disk that makes room for the sentence.
        """
        folder = self.partial(step)
        report = folder / f"rank-{rank}.json"
        try:
            files = {}
            for name, part in parts.items():
                file = _write_part(folder, name, part)
                files[file.name] = {"bytes": file.stat().st_size, "sha256": _sha256(file)}
            _write_json(report, {"files": files})
        except Exception as error:  # OSError, SafetensorError, RuntimeError of torch's writer: whatever the disk caused
            for name in parts:
                for file in folder.glob(f"{name}.*"):
                    remove(file)
            _write_json(report, {"error": f"rank {rank}: {reason(error)}"})
            raise

    def complete(self, step: int, ranks: int, given_up: Callable[[float], str] | None = None) -> Path:
        """Read all ranks' lists, write the manifest, give the folder its name. One rank; OSError where it fails.

        `given_up` says, after so many seconds of waiting for a list, why to wait no longer, or nothing; by default all
        ranks have written, and a list that is not seen soon never will be.
        """
        folder = self.partial(step)
        files: dict[str, Any] = {}
        for rank in range(ranks):
            outcome = _read_report(folder / f"rank-{rank}.json", given_up or _is_late)
            if "error" in outcome:
                raise OSError(outcome["error"])
            files |= outcome["files"]
        for rank in range(ranks):
            (folder / f"rank-{rank}.json").unlink()
        _write_json(folder / MANIFEST, {"step": step, "files": dict(sorted(files.items()))})
        settle(folder, self.path(step))
        return self.path(step)

    def load(self, step: int) -> dict[str, dict[str, Any]]:
        """The parts that all ranks share, tensors on the CPU."""
        parts: dict[str, dict[str, Any]] = {}
        for file in self._files(step):
            if POOL.match(file.stem):
                continue
            if file.suffix == ".safetensors":
                parts[file.stem] = safetensors.torch.load_file(file)
            elif file.suffix == ".pt":
                parts[file.stem] = torch.load(file, map_location="cpu", weights_only=True)
        return parts

    def progress(self, step: int) -> dict[str, Any]:
        """The few numbers of the checkpoint of `step`, without its tensors."""
        progress: dict[str, Any] = torch.load(self.path(step) / "progress.pt", map_location="cpu", weights_only=True)
        return progress

    def load_pool(self, step: int, first: int, end: int) -> Tensor | None:
        """The pool's slots [first, end), uint8 [n, bytes], whoever wrote them; None where they are not all there."""
        found = []
        for file in self._files(step):
            match = POOL.match(file.stem)
            low, high = (int(match[1]), int(match[2])) if match else (0, 0)
            if low < end and first < high:
                with safetensors.safe_open(file, framework="pt") as opened:
                    found.append(opened.get_slice("rows")[max(first, low) - low : min(end, high) - low])
        rows = torch.cat(found) if found else None
        return rows if rows is not None and len(rows) == end - first else None

    def pool_size(self, step: int) -> int:
        """Slots of the pool in the checkpoint of `step`."""
        matches = [POOL.match(file.stem) for file in self._files(step)]
        return max((int(match[2]) for match in matches if match), default=0)

    def prune(self, limit: int | None, spare: Iterable[int]) -> None:
        """Delete all but the newest `limit` checkpoints and those in `spare`."""
        if limit is None:
            return
        for step in set(self.steps()[:-limit]) - set(spare):
            self.path(step).rename(self.partial(step))  # half deleted, it must not have a checkpoint's name
            remove(self.partial(step))

    def _files(self, step: int) -> list[Path]:
        """The files that the manifest names: whatever else lies in the folder is none of the checkpoint's."""
        return [self.path(step) / name for name in manifest(self.path(step))]


def verify(folder: Path, content: bool = True) -> None:
    """Compare a checkpoint with its manifest; Damaged says the first thing that is wrong.

    Without `content` only names and sizes are compared, which is quick.
    """
    files = manifest(folder)
    if absent := sorted(NEEDED - files.keys()):
        raise Damaged(f"its {MANIFEST} does not name {absent[0]}")
    for name, (size, sha256) in files.items():
        file = folder / name
        try:
            if not file.is_file():
                raise Damaged(f"{name} is missing")
            if (found := file.stat().st_size) != size:
                raise Damaged(f"{name} has {found} bytes, not {size}")
            if content and _sha256(file) != sha256:
                raise Damaged(f"{name} is not what was written")
        except OSError as error:
            raise Damaged(f"{name} cannot be read: {error.strerror or error}") from error


def manifest(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and checksum of a checkpoint's files by name; Damaged where that is not to be had."""
    try:
        listed = json.loads((folder / MANIFEST).read_text())["files"]
        files = {str(name): (int(about["bytes"]), str(about["sha256"])) for name, about in sorted(listed.items())}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"it has no readable {MANIFEST} ({type(error).__name__})") from error
    if foreign := [name for name in files if Path(name).name != name]:
        raise Damaged(f"its {MANIFEST} names {foreign[0]!r}, which is not in it")
    return files


def on_host(part: Any) -> Any:
    """A copy of a state dict, whatever its nesting, with its tensors in host memory: training may go on meanwhile."""
    if isinstance(part, Tensor):
        return part.detach().to("cpu", copy=True)
    if isinstance(part, Mapping):
        return {key: on_host(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(on_host(value) for value in part)
    return part


def reason(error: Exception) -> str:
    """An error in one line: torch's messages have a backtrace, and other libraries' need the class's name."""
    said = (str(error).strip().splitlines() or [""])[0]
    return said if isinstance(error, OSError) else f"{type(error).__name__}: {said}"


def _write_part(folder: Path, name: str, part: Mapping[str, Any]) -> Path:
    """Tensors as safetensors, anything else by torch.save; the file, flushed to the disk."""
    if all(isinstance(value, Tensor) for value in part.values()):
        file = folder / f"{name}.safetensors"
        tensors = {key: value.detach().contiguous() for key, value in part.items()}
        with atomically(file) as aside:
            safetensors.torch.save_file(tensors, aside, metadata={"format": "pt"})
    else:
        file = folder / f"{name}.pt"
        with atomically(file) as aside, aside.open("wb") as stream:  # else torch's own writer aborts on a full disk
            torch.save(dict(part), stream)
    return file


def _read_report(report: Path, given_up: Callable[[float], str]) -> dict[str, Any]:
    """A rank's report on its part of a save, once it is there; OSError when the wait is given up."""
    begin = time.monotonic()
    while not report.exists():
        if why := given_up(time.monotonic() - begin):
            raise OSError(f"{report} is not there: {why}")
        time.sleep(0.01)
    outcome: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return outcome


def _is_late(seconds: float) -> str:
    return "is output_dir on a disk that all nodes share?" if seconds > VISIBLE else ""


def _write_json(file: Path, content: Any) -> None:
    write_atomically(file, json.dumps(content, indent=1))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
