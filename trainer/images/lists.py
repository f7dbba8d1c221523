"""Lists of pictures, as BasicSR and Real-ESRGAN call them `meta_info`: text files with a name, or a pair, on each line.

A list chooses among the pictures of folders that the configuration names, so no name in it may lead out of them.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from trainer.files.paths import check_path
from trainer.mistakes import Mistake

SHAPE = re.compile(r"\s+\(\d+,\s*\d+(,\s*\d+)?\)(\s+\d+)?$")
"""End of a line in BasicSR's lists: the picture's shape, and for an LMDB the level of compression."""
SHOWN = 3


def read_list(path: str) -> list[list[str]]:
    """Names on each line of a list that is not empty: one, or two separated by a comma and a blank. Blanks may be in a
    name.

    Raises Mistake, naming the key `list`, if the file cannot be read or names nothing, a line has more than two
    names, or a name is absolute or has a `..` in it.
    """
    check_path(path, "list")
    if Path(path).exists() and not Path(path).is_file():
        raise Mistake(f"list: {path!r} is no regular file; wanted a text file with a picture on each line.")
    try:  # a name may be any bytes, as names of files are
        text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise Mistake(f"list: {path!r} cannot be read: {error.strerror} (seen from {str(Path.cwd())!r}).") from None
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        names = SHAPE.sub("", line.strip()).split(", ")
        if names == [""]:
            continue
        if len(names) > 2 or not all(names):
            raise Mistake(f"list: line {number} of {path!r} reads {line.strip()!r}; wanted a name, or 'gt, lq'.")
        for name in names:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise Mistake(f"list: line {number} of {path!r} names {name!r}; wanted a name below the folder.")
        found.append(names)
    if not found:
        raise Mistake(f"list: {path!r} names no picture; wanted one on each line.")
    return found


def names_of_list(path: str, folder: str, there: Iterable[str]) -> tuple[str, ...]:
    """The pictures of a folder that a list of single names chooses, in its order; `there` are all that were found.

    Raises Mistake if one is absent, or the list is one of pairs.
    """
    lines = read_list(path)
    if pairs := [", ".join(names) for names in lines if len(names) > 1]:
        raise Mistake(f"list: {path!r} holds pairs, such as {pairs[0]!r}; wanted a single name on each line.")
    names = tuple(names[0] for names in lines)
    check_present(path, folder, names, there)
    return names


def check_present(path: str, folder: str, names: Iterable[str], there: Iterable[str]) -> None:
    """Mistake, with count and examples, if a folder lacks some of the `names` of a list; `there` are those found in
    it."""
    wanted = set(names)  # one walk of the folder costs less than a question for each of a million files
    absent = sorted(name for name in wanted.difference(there) if not Path(folder, name).is_file())
    if absent:
        count = f"{len(absent)} of the {len(wanted)} pictures"
        raise Mistake(f"list: {count} that {path!r} names are not in folder {folder!r}: {examples(absent)}.")


def examples(names: Sequence[str]) -> str:
    """The first few of some names, for a message."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
