"""Cut photographs into tiles: `python -m trainer.prepare SRC... DST` writes parquet shards, an ordinary dataset."""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.console import called, guard
from trainer.ctrl_c import INTERRUPTED, ending_at_ctrl_c, raising_at_ctrl_c
from trainer.files.paths import check_path, expanded, path_option

if TYPE_CHECKING:
    from trainer.images.opened import Budget
    from trainer.images.sources import Files
    from trainer.prepare.shards import Prepared, Shard

EPILOG = """\
examples:
  {prog} /my/photos tiles
  {prog} DIV2K Flickr2K OST tiles --scales 1,0.75,0.5,1/3,400px    (as Real-ESRGAN's scripts)
  {prog} /my/photos tiles --tile 512 --step 512 --shard-mib 64
  {train} CONFIG 'images.source={{type: dataset, path: tiles}}'

The same command goes on where it was stopped. Tiles are RGB of 8 bits, as training decodes the pictures. The exit
status is 1 if a picture could not be read, and 130 after Ctrl-C.
"""
SETTINGS = ("tile", "step", "thresh_size", "min_side", "scales", "shard_mib", "max_picture_mib")
"""Options on which the tiles depend."""
LISTED = 20
"""Unreadable pictures that are named at the end; all are in the manifest."""


def whole(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from `least` on."""

    def parsed(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"got {text}; must be a whole number, at least {least}")
        return int(text)

    return parsed


def scales(text: str) -> str:
    """The option --scales, checked: as it was typed, without blanks."""
    from fractions import Fraction

    parts = text.replace(" ", "").split(",")
    for part in parts:
        try:
            good = int(part.removesuffix("px")) > 0 if part.endswith("px") else 0 < Fraction(part) <= 1
        except (ValueError, ZeroDivisionError):
            good = False
        if not good:
            wanted = "factors above 0 and up to 1, or lengths such as 400px, separated by commas"
            raise argparse.ArgumentTypeError(f"got {part!r}; must be {wanted}")
    return ",".join(parts)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; nothing heavy is imported for it."""
    parser = argparse.ArgumentParser(
        prog=called("prepare"),
        description="Cut folders of photographs into tiles, in parquet files that training and `datasets` read.",
        epilog=EPILOG.format(prog=called("prepare"), train="wildsr train"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("sources", nargs="+", type=expanded, metavar="SRC", help="folders of pictures, with their sub-folders")
    add("target", type=path_option, metavar="DST", help="the folder for the shards")
    add("--tile", type=whole(1), default=480, metavar="N", help="side of a tile in pixels (480)")
    add("--step", type=whole(1), default=240, metavar="N", help="pixels from one tile to the next (240)")
    add("--thresh-size", type=whole(0), default=0, metavar="N", help="a longer rest at the border gets a tile too (0)")
    add("--min-side", type=whole(1), default=128, metavar="N", help="pictures and versions with a shorter side are "
        "left out (128); others that are smaller than a tile are kept whole")  # fmt: skip
    add("--scales", type=scales, default="1", metavar="LIST", help="versions of each picture, by Lanczos: factors, and "
        "lengths of the shorter side such as 400px (1)")  # fmt: skip
    add("--shard-mib", type=whole(1), default=256, metavar="N", help="size at which a shard ends (256)")
    add("--workers", type=whole(1), metavar="N", help="threads, at most one per core (as many)")
    add("--max-picture-mib", type=whole(1), default=2048, metavar="N", help="memory that reading a picture may take, "
        "in MiB (2048)")  # fmt: skip
    add("--fresh", action="store_true", help="make all anew, in place of what was prepared in DST before")
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    """Prepare; the exit status: 0, 1 if a picture could not be read, 130 after Ctrl-C.

    Raises:
        Mistake: what a person can put right.
        Failure: the shards cannot be written, or the disk of the pictures went away.
    """
    from trainer.images.opened import Budget
    from trainer.mistakes import Failure, Mistake
    from trainer.prepare.pipeline import make_shards, title
    from trainer.prepare.shards import open_prepared
    from trainer.prepare.tiles import Cut

    budget = Budget(options.max_picture_mib, "--max-picture-mib")
    sources = [open_source(path, budget) for path in options.sources]
    check_path(options.target, "DST")
    if options.target.resolve() in [Path(source.root).resolve() for source in sources]:
        raise Mistake(f"DST: {str(options.target)!r} is a SRC too; wanted another folder.")
    made_of = {key: getattr(options, key) for key in SETTINGS}
    made_of["sources"] = [
        {"folder": title(source), "pictures": len(source), "content": source.identity.content} for source in sources
    ]
    prepared = open_prepared(options.target, made_of, options.fresh)
    cut = Cut(options.tile, options.step, options.thresh_size, options.min_side, tuple(options.scales.split(",")))
    try:
        with raising_at_ctrl_c():
            make_shards(prepared, sources, cut, options.shard_mib * 2**20, options.workers)
    except KeyboardInterrupt:
        done, among = prepared.total().pictures, sum(map(len, sources))
        print(f"stopped; {done} of {among} pictures are in finished shards; the same command goes on.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]  # arrow has words of its own
        raise Failure(f"{options.target} cannot be written: {reason}; the same command goes on.") from error
    return report(prepared, options)


def open_source(path: str, budget: "Budget") -> "Files":
    """The pictures of a folder as training finds them, with notes on what is not read; Mistake if there is none."""
    from trainer.images.sources import Folder
    from trainer.mistakes import Mistake

    try:
        source = Folder(path=path).open(budget)
    except Mistake as mistake:
        raise Mistake(f"SRC: {str(mistake).removeprefix('path: ')}") from None
    for note in source.notes:
        print(note)
    return source


def report(prepared: "Prepared", options: argparse.Namespace) -> int:
    """Print what was made, what was left out and how to train on it; the exit status."""
    from trainer.mistakes import Mistake

    total = prepared.total()
    left_out = ", ".join(reasons_of(total, options.min_side))
    if not total.tiles:
        raise Mistake(f"SRC: none of the {total.pictures} pictures gave a tile: {left_out}.")
    path = str(options.target)
    path = path if re.fullmatch(r"[\w./~][\w./~ -]*", path) else json.dumps(path)
    print(
        f"{total.pictures} pictures, {total.tiles} tiles, {total.bytes / 2**20:.1f} MB in {options.target}; "
        f"left out: {left_out or 'nothing'}; "
        f"train on it: wildsr train CONFIG {shlex.quote(f'images.source={{type: dataset, path: {path}}}')}"
    )
    if not total.unreadable:
        return 0
    from trainer.images.unreadable import share_of, too_many

    bad = len(total.unreadable)
    how_many = (
        share_of(bad, total.pictures)
        if too_many(bad, total.pictures)
        else f"{bad} of {total.pictures} pictures cannot be read"
    )
    print(f"error: {how_many}:", file=sys.stderr)
    for name, reason in total.unreadable[:LISTED]:
        print(f"  {name}: {reason}", file=sys.stderr)
    if bad > LISTED:
        print(f"  and {bad - LISTED} others", file=sys.stderr)
    return 1


def reasons_of(total: "Shard", min_side: int) -> Iterator[str]:
    """The counts of pictures left out, by reason."""
    too_small = [f"{total.small} picture{'s' * (total.small > 1)}"] * bool(total.small)
    too_small += [f"{total.small_versions} version{'s' * (total.small_versions > 1)} of others"] * bool(
        total.small_versions
    )
    if too_small:
        yield f"below --min-side {min_side}: {' and '.join(too_small)}"
    if total.unreadable:
        yield f"unreadable: {len(total.unreadable)}"


@ending_at_ctrl_c()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, 1 if a picture or a disk failed, or 2 for a mistake."""
    options = parse(arguments)
    from trainer.mistakes import Failure, Mistake

    try:
        return execute(options)
    except (Mistake, Failure) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, Mistake) else 1


if __name__ == "__main__":
    guard()
    sys.exit(main())
