"""Which picture files are upscaled, and into which."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.durable import atomically
from trainer.images.decode import Unreadable
from trainer.images.photographs import FORMATS, read_photograph, write_photograph
from trainer.images.picture import Picture
from trainer.images.rasters import SUFFIXES, is_raster, read_raster, write_raster
from trainer.images.sources import IMAGE_SUFFIXES, find_images
from trainer.mistakes import Failure, Mistake


@dataclass(frozen=True, slots=True)
class Job:
    """A file and what becomes of it."""

    source: Path
    target: Path


def find_jobs(inputs: Sequence[str], output: Path, suffix: str, format_name: str) -> list[Job]:
    """The files of `inputs`, each a file, a folder with its sub-folders, or a glob pattern, in order.

    A target is named as its source, with `suffix` behind the name, and lies in `output` as the source lies in its
    folder; its format is `format_name`, or with `same` that of the source, or PNG where that is not written. What is
    itself the target of another file is left out: it is the result of an earlier run.

    Raises Mistake where an input is nothing, two have one target, or one would replace its source.
    """
    if output.exists() and not output.is_dir():
        raise Mistake(f"--output: {output} is a file; wanted a folder.")
    sources: dict[Path, Path] = {}  # resolved -> target
    named: dict[Path, Path] = {}  # resolved -> as the user knows it
    for entry in inputs:
        for root, file in _expanded(entry):
            kind = file.suffix.lower() if format_name == "same" else f".{format_name}"
            kind = kind if kind in FORMATS else ".png"
            target = output / file.relative_to(root).with_name(f"{file.stem}{suffix}{kind}")
            sources[file.resolve()], named[file.resolve()] = target, file
    targets = {target.resolve(): source for source, target in sources.items()}
    jobs = []
    for source, target in sources.items():
        other = targets[target.resolve()]
        if target.resolve() == source:
            raise Mistake(
                f"--output: the result of {named[source]} would replace it; give another folder or a --suffix."
            )
        if other != source:
            raise Mistake(f"--output: {named[source]} and {named[other]} would both become {target}.")
        if source not in targets:
            jobs.append(Job(named[source], target))
    return jobs


def _expanded(entry: str) -> Iterator[tuple[Path, Path]]:
    """The files of one input, each with the folder that it is counted from."""
    path = Path(entry)
    if path.is_dir():
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
        yield from ((Path(*parts[:fixed]), file) for file in files)
    else:
        raise Mistake(f"--input: {entry!r} does not exist (seen from {str(Path.cwd())!r}).")


def read_picture(path: Path, bands: int, black: float | None, white: float | None) -> Picture:
    """A photograph; or a raster for a network of `bands`, if the file has a place on Earth or bands that no photograph
    has, or if it is a TIFF and `white`, the number that means 1, is given. `Unreadable` if it cannot be read."""
    if is_raster(path) or (white is not None and path.suffix.lower() in SUFFIXES):
        try:
            return read_raster(path, bands, black, white)
        except Mistake as mistake:  # there is no rasterio, which other files do not need
            raise Unreadable(str(path), str(mistake).removeprefix("--input: ").rstrip(".")) from mistake
    return read_photograph(path)


def write_picture(path: Path, picture: Picture) -> None:
    """Write aside, then rename: the file is complete or absent.

    Raises ValueError where its format cannot hold the picture, and Failure where the disk does not take it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomically(path) as aside:
            _write(aside, path.suffix.lower(), picture)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror or error}") from error


def _write(path: Path, suffix: str, picture: Picture) -> None:
    if picture.place is None:
        write_photograph(path, suffix, picture)
    elif suffix in SUFFIXES:
        write_raster(path, picture)
    else:
        raise ValueError("a raster keeps its bands and its place as .tif only")
