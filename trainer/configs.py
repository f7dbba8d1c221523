"""The configurations that come with the program: `python -m trainer.configs` lists them, or copies one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.files.paths import check_path, path_option
from trainer.mistakes import Mistake, suggestion

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent / "configs"
IN_WHEEL = HERE / "config" / "shipped"
FOLDER = IN_WHEEL if IN_WHEEL.is_dir() else CHECKOUT
"""The folder that holds them: setup.py puts the checkout's into the wheel."""
KINDS = ("*.yaml", "degradations/*.yaml", "sweeps/*.txt")


def shipped() -> dict[str, Path]:
    """Name -> file of what is shipped: configurations of runs, then `degradations/...` and `sweeps/...`."""
    files = [file for kind in KINDS for file in sorted(FOLDER.glob(kind))]
    return {file.relative_to(FOLDER).with_suffix("").as_posix(): file for file in files}


def runnable() -> str:
    """The configurations of runs in a sentence, as `wildsr train` takes them."""
    before, after = ("configs/", ".yaml") if FOLDER == CHECKOUT else ("", "")
    return ", ".join(f"{before}{name}{after}" for name in shipped() if "/" not in name)


def find(text: str) -> Path | None:
    """The shipped file of a name, as `quickstart`, `quickstart.yaml` or `configs/quickstart.yaml`; else None."""
    return shipped().get(text.removeprefix("configs/").removesuffix(".yaml").removesuffix(".txt"))


def first_sentence(file: Path) -> str:
    """The purpose of a file: the comment that it begins with, to its first full stop."""
    lines = file.read_text(encoding="utf-8").splitlines()
    words: list[str] = []
    for line in lines:
        if not (comment := line.removeprefix("#").strip()) or not line.startswith("#"):
            break
        words.append(comment)
    sentence, stop, _ = " ".join(words).partition(". ")
    return sentence + stop.strip()


def listing() -> str:
    """A line for each shipped file: name, and what it is for."""
    files = shipped()
    width = max(map(len, files))
    return "".join(f"{name:<{width}}  {first_sentence(file)}\n" for name, file in files.items())


def copy(name: str, to: Path) -> Path:
    """Copy a shipped file to the folder or file `to`, and give its path.

    Raises:
        Mistake: there is no such configuration; or the copy is there already, or cannot be written.
    """
    file = find(name)
    if file is None:
        raise Mistake(f"no configuration '{name}' is shipped; {suggestion(name, list(shipped()))}.")
    check_path(to, "DEST")
    target = to / file.name if to.is_dir() else to
    try:
        with target.open("xb") as stream:
            stream.write(file.read_bytes())
    except FileExistsError:
        raise Mistake(f"{target} is there already, and nothing is overwritten; give another DEST.") from None
    except OSError as error:
        raise Mistake(f"DEST: {target} cannot be written: {error.strerror}.") from None
    return target


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    from trainer.console import called

    parser = argparse.ArgumentParser(
        prog=called("configs"), description="The configurations that come with the program: a line each, or a copy."
    )
    actions = parser.add_subparsers(dest="action", metavar="copy")
    copying = actions.add_parser("copy", help="copy one, to be changed", description="Copy a configuration.")
    copying.add_argument("name", metavar="NAME", help="such as quickstart, or degradations/bsrgan")
    copying.add_argument(
        "to", metavar="DEST", nargs="?", type=path_option, default=Path(), help="a folder, or the copy's name (here)"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, or 2 for a mistake that a sentence on stderr explains."""
    options = parse(arguments)
    from trainer.console import give  # here, as run.py reads the names before it knows that packages are installed

    try:
        if options.action is None:
            give(listing())
        else:
            print(f"{copy(options.name, options.to)} was written.")
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
