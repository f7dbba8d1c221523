"""Names of pictures, and of the low-quality pictures that belong to them."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from trainer.images.listing import find_images
from trainer.mistakes import Mistake


def without_ending(file: str) -> str:
    """A relative path without its ending."""
    return str(PurePosixPath(file).with_suffix(""))


def partner(stem: str, lq_name: str) -> str:
    """The relative path, without its ending, of the low-quality picture that belongs to picture `stem`."""
    path = PurePosixPath(stem)
    return str(path.with_name(lq_name.replace("{}", path.name)))


def files_by_stem(folder: str, key: str) -> dict[str, str]:
    """Relative path without its ending -> relative path, of the pictures in a folder; Mistake if two share one."""
    found: dict[str, str] = {}
    for file in find_images(folder, key):
        stem = without_ending(file)
        if stem in found:
            raise Mistake(f"{key}: {found[stem]!r} and {file!r} in folder {folder!r} have the same name.")
        found[stem] = file
    return found


def template_of(gt: Iterable[str], lq: Iterable[str]) -> str | None:
    """The `lq_name` under which every picture of two folders, paths without endings, has a partner; None without."""
    good, poor = sorted(gt), set(lq)
    first = PurePosixPath(good[0])
    if len(good) != len(poor):
        return None
    for path in map(PurePosixPath, sorted(poor)):
        before, found, after = path.name.partition(first.name)
        if not found or path.parent != first.parent or partner(good[-1], f"{before}{{}}{after}") not in poor:
            continue
        if {partner(stem, f"{before}{{}}{after}") for stem in good} == poor:
            return f"{before}{{}}{after}"
    return None
