"""Atomic writes: a file or folder is complete under its name or not there at all, also after a loss of power.

What is written lies aside first, under a hidden name that nobody can guess and that no link can wait at; it is flushed
to the disk, takes its name by a rename, and the rename is flushed too. Every file that is later read as a whole (marks,
manifests, configurations, weights, pictures) is written this way; records that grow by lines are not.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ASIDE = ".aside-"
"""Prefix of files and folders that are being written, or were when their process died."""
NO_LINK, NOT_INHERITED = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_CLOEXEC", 0)
"""Flags of `os.open`; Windows has neither, and its files are not inherited."""
FLUSHED_BY = os.O_RDONLY | NOT_INHERITED if hasattr(os, "O_DIRECTORY") else os.O_RDWR
"""Flags with which a file is opened to be flushed: Windows flushes what is open for writing, and no folders."""


def aside_of(path: Path) -> Path:
    """An unused name beside `path`, short enough for every file system."""
    return path.with_name(f"{ASIDE}{secrets.token_hex(8)}")


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """An empty file to write to, by any library, which becomes `path` at the end; removed where that fails.

    It has the permissions that the process's umask gives. Raises OSError where the disk refuses, and whatever is raised
    within.
    """
    aside = aside_of(path)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | NOT_INHERITED, 0o666)
    try:
        mode = os.fstat(descriptor).st_mode & 0o777
        os.close(descriptor)
        yield aside
        aside.chmod(mode)  # safetensors puts a file of its own there, with 0600
        flush(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    flush(path.parent)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace what `path` holds, text as UTF-8; OSError where the disk refuses, and then it holds what it held."""
    with atomically(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """An empty folder to write to, which replaces the folder `path` at the end; removed if that fails.

    Raises OSError if the disk refuses, and whatever is raised within; `path` then holds what it held.
    """
    aside = aside_of(path)
    aside.mkdir()
    try:
        yield aside
        settle(aside, path)
    except BaseException:
        remove(aside)
        raise


def settle(made: Path, final: Path) -> None:
    """Give a file, or a folder of files, that was written aside its name: flushed before and after.

    A folder in the way moves aside first and is then removed: two renames, between which a death leaves neither.
    """
    for path in made.rglob("*") if made.is_dir() else ():
        flush(path)
    flush(made)
    old = aside_of(final) if final.is_dir() else None
    if old:
        final.rename(old)
    try:
        made.replace(final)
    except OSError:
        if old:
            old.rename(final)
        raise
    flush(final.parent)
    if old:
        remove(old)


def remove(path: Path) -> None:
    """Delete a file, a link (never what it points to) or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove leftovers of dead processes in a folder, which no other process may write to."""
    for left in folder.glob(f"{ASIDE}*"):
        remove(left)


def flush(path: Path) -> None:
    """Wait until `path` (a file, or a folder's entries) is on the disk."""
    if FLUSHED_BY == os.O_RDWR and path.is_dir():
        return
    descriptor = os.open(path, FLUSHED_BY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
