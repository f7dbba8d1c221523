"""The files to upscale and their targets; reading and writing them."""

import glob
import json
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.files.atomic import atomically
from trainer.files.paths import check_path
from trainer.images.listing import IMAGE_SUFFIXES, find_images
from trainer.images.opened import BUDGET, Budget, Unreadable, kind_of
from trainer.mistakes import Failure, Mistake
from trainer.upscale.photographs import WRITE_OPTIONS, read_photograph, write_photograph
from trainer.upscale.picture import Picture
from trainer.upscale.rasters import SUFFIXES, is_raster, read_raster, write_raster

RESULT_LIST = ".upscaled"
"""A hidden list of the results in a folder, kept if results lie among inputs: there a result and an original can have
the same name, and nothing else distinguishes them."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file and its target."""

    source: Path
    target: Path

    @property
    def is_made(self) -> bool:
        """True if the result exists; False also if its name is too long for the disk, which writing will report."""
        try:
            return stat.S_ISREG(self.target.stat().st_mode)
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Plan:
    """The files to upscale."""

    jobs: list[Job]
    left_out: Counter[str]
    """Number of files of the inputs that are left out, by their ending, or by their kind, such as "a FIFO"."""
    among_inputs: bool
    """True if results lie among the inputs, so that each is entered in `RESULT_LIST`."""


def find_jobs(inputs: Sequence[str], output: Path, suffix: str, format_name: str) -> Plan:
    """The files of `inputs`, each a file, a folder with its sub-folders, or a glob pattern, in order.

    A target is named as its source, with `suffix` behind the name, and lies in `output` as the source lies in its
    folder; its format is `format_name`, or with `same` that of the source, or PNG if that is not written. The result
    of an earlier run is no source.

    Raises Mistake if an input is nothing, two have one target, or one would replace an input, itself or another.
    """
    check_path(output, "--output")
    if output.exists() and not output.is_dir():
        raise Mistake(f"--output: {output} is a file; wanted a folder.")
    jobs: dict[Path, Job] = {}  # by the resolved place of the source
    left_out: Counter[str] = Counter()
    roots: set[Path] = set()
    for entry in inputs:
        for root, file in _expanded(entry, left_out):
            kind = file.suffix.lower() if format_name == "same" else f".{format_name}"
            kind = kind if kind in WRITE_OPTIONS else ".png"
            target = output / file.relative_to(root).with_name(f"{file.stem}{suffix}{kind}")
            jobs[file.parent.resolve() / file.name] = Job(file, target)
            roots.add(root.resolve())
    jobs = _with_distinct_targets(jobs, suffix)
    earlier = _results_of_earlier_runs(list(jobs.values()))
    here = output.resolve()
    fresh = [job for job in jobs.values() if _identity(job.source) not in earlier]
    return Plan(fresh, left_out, any(here.is_relative_to(root) for root in roots))


def _with_distinct_targets(jobs: dict[Path, Job], suffix: str) -> dict[Path, Job]:
    """The jobs; if several have one target, those whose format changes keep the ending in their name: beside `a.png`,
    `a.avif` becomes `a.avif.png`."""
    shared = Counter(job.target for job in jobs.values())
    return {
        key: job
        if shared[job.target] == 1 or job.source.suffix.lower() == job.target.suffix
        else Job(job.source, job.target.with_name(f"{job.source.name}{suffix}{job.target.suffix}"))
        for key, job in jobs.items()
    }


def _results_of_earlier_runs(jobs: Sequence[Job]) -> set[tuple[int, int] | Path]:
    """Identities of sources that are results of others; Mistake if a target is an original, or that of two sources."""
    sources = {_identity(job.source): job.source for job in jobs}
    made: dict[tuple[int, int] | Path, Job] = {}
    for job in jobs:
        identity = _identity(job.target)
        if identity == _identity(job.source):
            raise Mistake(f"--output: the result of {job.source} would replace it; give another folder or a --suffix.")
        other = made.setdefault(identity, job)
        if other is not job:
            raise Mistake(f"--output: {other.source} and {job.source} would both become {job.target}.")
    at_stake = {identity: job for identity, job in made.items() if identity in sources}
    noted = {folder: _noted_in(folder) for folder in {job.target.parent for job in at_stake.values()}}
    for identity, job in at_stake.items():
        if _note(job.target, job.target) not in noted[job.target.parent]:
            raise Mistake(
                f"--output: the result of {job.source} would replace {sources[identity]}, which is an input too; give "
                f"another folder or another --suffix."
            )
    return set(at_stake)


def _note(target: Path, written: Path) -> str:
    """The entry of a result in `RESULT_LIST`: its name, its size and its modification time."""
    status = written.stat()
    return json.dumps([target.name, status.st_size, status.st_mtime_ns])


def _noted_in(folder: Path) -> set[str]:
    """The entries of results in a folder."""
    notes = folder / RESULT_LIST
    return set(notes.read_text(encoding="utf-8", errors="replace").splitlines()) if notes.is_file() else set()


def _identity(path: Path) -> tuple[int, int] | Path:
    """Device and inode of the file at `path`, the same for every spelling of the path; the resolved path if there is
    none."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino


def _expanded(entry: str, left_out: Counter[str]) -> Iterator[tuple[Path, Path]]:
    """The files of one input, each with the folder that its name is relative to; others are counted in `left_out`."""
    check_path(entry, "--input")
    path = Path(entry)
    if path.is_dir():
        left_out.update(_left_out(file for file in path.rglob("*") if not _is_hidden(file, path)))
        yield from ((path, path / name) for name in find_images(entry, "--input"))
    elif path.exists():
        yield path.parent, path
    elif glob.has_magic(entry):
        parts = path.parts
        fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
        found = [Path(name) for name in sorted(glob.glob(entry, recursive=True))]  # noqa: PTH207 - the user's own syntax
        files = [file for file in found if file.is_file() and file.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            raise Mistake(f"--input: no picture is called like {entry!r} (seen from {str(Path.cwd())!r}).")
        left_out.update(_left_out(found))
        yield from ((Path(*parts[:fixed]), file) for file in files)
    else:
        raise Mistake(f"--input: {entry!r} does not exist (seen from {str(Path.cwd())!r}).")


def _is_hidden(file: Path, root: Path) -> bool:
    """True if a file below `root`, or a folder on the way to it, is hidden."""
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _left_out(found: Iterable[Path]) -> Iterator[str]:
    """For each of `found` that is no picture: its ending, or its kind if it is no regular file."""
    for path in found:
        if path.is_file():
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                yield path.suffix.lower() or "no ending"
        elif path.exists() and not path.is_dir():
            yield kind_of(path)


def read_input(path: Path, bands: int, black: float | None, white: float | None, budget: Budget = BUDGET) -> Picture:
    """Read a photograph; or a raster for a network of `bands`, if the file is georeferenced or has bands that no
    photograph has, or if it is a TIFF and `white`, the number that means 1, is given. `Unreadable` if it cannot be
    read."""
    if is_raster(path) or (white is not None and path.suffix.lower() in SUFFIXES):
        try:
            return read_raster(path, bands, black, white, budget)
        except Mistake as mistake:  # there is no rasterio, which other files do not need
            raise Unreadable(str(path), str(mistake).removeprefix("--input: ").rstrip(".")) from mistake
    return read_photograph(path, budget)


def write_result(path: Path, picture: Picture, note: bool = False) -> list[str]:
    """Write aside, then rename: the file is complete or absent. With `note` it is entered in `RESULT_LIST`.

    Returns the kinds of metadata that are left out.

    Raises ValueError if its format cannot hold the picture, and Failure if the disk does not take it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomically(path) as aside:
            left_out = _write(aside, path.suffix.lower(), picture)
            if note:
                with (path.parent / RESULT_LIST).open("a", encoding="utf-8") as notes:
                    notes.write(_note(path, aside) + "\n")
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror or error}") from error
    return left_out


def _write(path: Path, suffix: str, picture: Picture) -> list[str]:
    if picture.georeference is None:
        return write_photograph(path, suffix, picture)
    if suffix not in SUFFIXES:
        raise ValueError("a raster keeps its bands and its place as .tif only")
    write_raster(path, picture)
    return []
